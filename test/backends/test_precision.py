"""What the network is computed in."""

from __future__ import annotations

from engines import CPU, make_engine, run
import numpy as np
import pytest
from small_net import make_images, make_net
import torch

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.torch_backend import DTYPES, TorchBackend
from dcfm_ros.models.dcfm import normalise

HALVES = ['bf16', 'fp16']


@pytest.mark.parametrize('precision', DTYPES)
def test_features_of_no_length_give_no_nan(precision):
    nothing = torch.zeros(1, 8, 4, 4, dtype=DTYPES[precision])
    assert (normalise(nothing) == 0).all()
    net = make_net()
    backend = TorchBackend(net, CPU, precision)
    independent = backend.encode_independent(backend.to_input(make_images(1, (32, 48))[0]))
    (common,) = backend.encode_common(independent)
    cached = torch.full_like(common, -1e3)  # nothing after the ReLU
    assert backend.decode([(cached,)], independent).isfinite().all()


@pytest.mark.parametrize('precision', HALVES)
def test_mean_and_deviation_of_images_are_not_rounded(precision):
    net = make_net()
    backend = TorchBackend(net, CPU, precision)
    torch.testing.assert_close(backend.net.mean, net.mean, rtol=0, atol=0)
    torch.testing.assert_close(backend.net.std, net.std, rtol=0, atol=0)


@pytest.mark.parametrize('precision', HALVES)
@pytest.mark.parametrize('execution', ['sync', 'amortised'])
def test_half_precision_in_the_engine(precision, execution):
    net, images = make_net(), make_images(6)
    options = {'execution': execution, 'motion': 'flow'}
    engine = make_engine(net, precision=precision, **options)
    results = run(engine, images)
    assert engine.backend.precision == precision
    assert engine.backend.name == 'torch'
    assert next(net.parameters()).dtype == torch.float32  # of the caller
    exact = run(make_engine(net, **options), images)
    equal = np.mean([np.mean(a.mask == b.mask) for a, b in zip(results, exact, strict=True)])
    assert equal > (0.9 if precision == 'bf16' else 0.98)
    assert any((a.logits != b.logits).any() for a, b in zip(results, exact, strict=True))


def test_less_than_fp32_takes_pytorch():
    net = make_net()
    for precision in HALVES:
        assert make_engine(net, backend='auto', precision=precision).backend.name == 'torch'
    half = make_engine(net.bfloat16(), backend='auto', precision='fp32').backend
    assert (half.name, half.precision) == ('torch', 'fp32')


def test_openvino_computes_in_fp32_if_asked(monkeypatch):
    openvino = pytest.importorskip('openvino')
    pytest.importorskip('onnx')
    hints, compile_model = [], openvino.Core.compile_model

    def spy(core, model, device, config):
        hints.append(config['INFERENCE_PRECISION_HINT'])
        return compile_model(core, model, device, config)

    monkeypatch.setattr(openvino.Core, 'compile_model', spy)
    engine = make_engine(make_net(), backend='openvino', precision='fp32')
    run(engine, make_images(1))
    assert engine.backend.precision == 'fp32'
    assert set(hints) == {openvino.Type.f32}  # even if this CPU has hardware for less
    with pytest.raises(ValueError, match="auto, fp32 or int8 for openvino, got 'bf16'"):
        make_engine(make_net(), backend='openvino', precision='bf16')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('gpu',), "`device` must be auto, cpu, cuda or cuda:<n>, got 'gpu'"),
        (('cpu', 'tensorrt'), "`backend` must be auto, torch or openvino, got 'tensorrt'"),
        (('cpu', 'torch', 'int4'), "one of auto, fp32, bf16, fp16, got 'int4'"),
        (('cpu', 'torch', 'int8'), 'int8 needs OpenVINO on the CPU, got backend torch'),
        (('cpu', 'auto', 'int8'), '`net` must come from `load_network` for precision int8'),
    ],
)
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_backend(make_net(), *arguments)


def test_the_precision_of_a_half_network_is_reported():
    backend = make_backend(make_net().bfloat16(), 'cpu')
    assert (backend.name, backend.precision) == ('torch', 'bf16')
