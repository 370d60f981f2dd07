import pytest
from timm.layers import BatchNormAct2d
from timm.layers.split_batchnorm import SplitBatchNorm2d
import torch
from torch import distributed, multiprocessing, nn

from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.sync_batch_norm import convert_batch_norms

SPLIT = (3, 1)  # images of the two processes


def network(dtype):
    """In float64 all kinds of batch norm that there are; rounding adds up in float32."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm2d(3, momentum=0.3),
        nn.Conv2d(3, 5, 3),
        BatchNormAct2d(5, act_layer=nn.SiLU),
        nn.BatchNorm2d(5, affine=False, momentum=None),
        nn.Flatten(2),
        nn.BatchNorm1d(5, track_running_stats=False),
    )
    for value in net.parameters():
        nn.init.normal_(value)
    return net.to(dtype) if dtype == torch.float64 else net[:1]


def images(dtype):
    torch.manual_seed(1)
    return 2 + 3 * torch.randn(sum(SPLIT), 3, 6, 5, dtype=dtype)


def two_steps(net, image):
    """Output, gradients and buffers after two steps on the same images."""
    image = image.clone().requires_grad_()
    for _ in range(2):
        net.zero_grad()
        image.grad = None
        output = net(image)
        output.pow(3).flatten(1).mean(dim=1).sum().backward()
    gradients = {name: value.grad for name, value in net.named_parameters()}
    return output.detach(), image.grad, gradients, dict(net.named_buffers())


def run_process(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2
    )
    results = {}
    for dtype in (torch.float32, torch.float64):
        part = images(dtype).split(SPLIT)[rank]
        results[dtype] = two_steps(convert_batch_norms(network(dtype)), part)
    net = convert_batch_norms(network(torch.float64))[:-1]  # the last one keeps no statistics
    results['eval'] = net.eval()(part).detach()
    part = images(torch.float32).split(SPLIT)[rank]
    one = convert_batch_norms(nn.BatchNorm2d(3))
    results['far'] = one(1e4 + part).detach()
    results['half'] = one(part.bfloat16()).detach()
    single = convert_batch_norms(nn.BatchNorm2d(1))
    results['single'] = single(torch.full((1, 1, 1, 1), 2.0 * rank)).detach()
    torch.save(results, f'{folder}/{rank}.pt')
    distributed.destroy_process_group()


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """What each of two processes computed."""
    folder = tmp_path_factory.mktemp('processes')
    multiprocessing.spawn(run_process, (str(folder),), nprocs=2)
    return [torch.load(folder / f'{rank}.pt') for rank in (0, 1)]


@pytest.fixture(params=[(torch.float32, 1e-6), (torch.float64, 1e-10)], ids=['float32', 'float64'])
def both_ways(request, results):
    """What one process computes on all images, what two compute on a part each, tolerance."""
    dtype, tolerance = request.param
    whole = two_steps(network(dtype), images(dtype))
    return whole, [result[dtype] for result in results], tolerance


def assert_equal(found, expected, tolerance):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_output_is_that_of_the_whole_batch(both_ways):
    whole, parts, tolerance = both_ways
    assert_equal(torch.cat([part[0] for part in parts]), whole[0], tolerance)


def test_gradient_of_the_images_is_that_of_the_whole_batch(both_ways):
    whole, parts, tolerance = both_ways
    assert_equal(torch.cat([part[1] for part in parts]), whole[1], tolerance)


def test_gradients_of_the_weights_add_up_to_that_of_the_whole_batch(both_ways):
    whole, parts, tolerance = both_ways
    for name, expected in whole[2].items():
        assert_equal(parts[0][2][name] + parts[1][2][name], expected, tolerance)


def test_running_statistics_are_those_of_the_whole_batch(both_ways):
    whole, parts, tolerance = both_ways
    for part in parts:
        for name, expected in whole[3].items():
            assert_equal(part[3][name], expected, tolerance)


def test_evaluation_is_that_of_the_plain_network(results):
    expected = network(torch.float64)[:-1].eval()(images(torch.float64)).detach()
    assert_equal(torch.cat([result['eval'] for result in results]), expected, 1e-10)


def test_a_large_mean_costs_no_digits(results):
    expected = nn.BatchNorm2d(3)(1e4 + images(torch.float32)).detach()
    assert_equal(torch.cat([result['far'] for result in results]), expected, 5e-3)


def test_half_precision_stays_half(results):
    expected = nn.BatchNorm2d(3)(images(torch.float32)).detach()
    found = torch.cat([result['half'] for result in results])
    assert found.dtype == torch.bfloat16
    assert_equal(found.float(), expected, 3e-2)


def test_one_value_per_process_is_enough(results):
    # 0 and 2: mean 1, standard deviation 1.
    assert [round(result['single'].item(), 4) for result in results] == [-1, 1]


def test_one_process_alone_computes_what_the_plain_network_does():
    dtype = torch.float64
    expected = two_steps(network(dtype), images(dtype))
    found = two_steps(convert_batch_norms(network(dtype)), images(dtype))
    assert_equal(found, expected, 0)


def test_weights_go_back_to_the_plain_network():
    config = DCFMConfig(backbone='timm:mobilenetv4_conv_small', num_classes=3, fuse_channels=16)
    plain = DCFM(config).eval()
    trained = convert_batch_norms(DCFM(config)).eval()
    plain.load_state_dict(trained.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain(image, image), trained(image, image))


def test_no_batch_norm_of_a_network_is_left_out():
    config = DCFMConfig(backbone='timm:mobilenetv4_conv_small', num_classes=3, head='mlp')
    kinds = {type(module) for module in convert_batch_norms(DCFM(config)).modules()}
    assert not kinds & {nn.BatchNorm2d, BatchNormAct2d}


def test_converting_twice_is_converting_once():
    net = convert_batch_norms(network(torch.float32))
    kinds = [type(module) for module in net]
    assert [type(module) for module in convert_batch_norms(net)] == kinds


def test_unknown_kinds_are_refused():
    net = nn.Sequential(nn.BatchNorm2d(2), SplitBatchNorm2d(2))
    with pytest.raises(ValueError, match=r'`net` must have no batch norms but .*1: SplitBatch'):
        convert_batch_norms(net)
    assert type(net[0]) is nn.BatchNorm2d
