"""One function over many items: in this process, in several, or on a Ray cluster.

If a worker is killed, for want of memory say, its item is tried again. Workers compute with the
same number of threads wherever they run, because that number decides how sums are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
import multiprocessing
import os
from pathlib import Path
import pickle
from queue import SimpleQueue
import sys
import tempfile
from typing import Any, TypeVar

from tqdm import tqdm

from dcfm_ros.threads import set_num_threads, using_threads

Item = TypeVar('Item')
Result = TypeVar('Result')
Numbered = Generator[tuple[int, Any], None, None]
Function = Callable[[Any], Any]

MAX_TRIES = 3
"""How often an item is tried whose worker is killed."""
_KILLED = f'a worker was killed {MAX_TRIES} times while it worked on {{}}'
_loaded: tuple[str, Function] | None = None
"""In a worker: the key of the function that it was given, and the function."""


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int = 1,
    ray_address: str | None = None,
    description: str = '',
    *,
    threads: int | None = None,
    uses_gpu: bool = False,
) -> list[Result]:
    """Call the function on every item.

    Args:
        function: Goes to each worker once, with all that it holds; like the items and the
            results it is pickled, unless everything happens in this process.
        items: What to call it on.
        jobs: Processes on this machine, 1: this one. With 'local' Ray: tasks at a time.
        ray_address: 'local' starts Ray on this machine, 'auto' or 'host:port' joins a cluster
            whose machines have this package and see the same files; None: no Ray. Where the
            machines have the folder that this process works in, tasks work in it too.
        description: Title of the progress bar.
        threads: Of each worker, for torch and OpenCV. It decides how sums are rounded: results
            are the same to the last bit for equal `threads` only. None: the cores of this
            machine, shared out among the jobs.
        uses_gpu: Give every task on Ray a GPU of its own, if the cluster has any.

    Returns:
        The results, in the order of the items.

    Raises:
        ValueError: If `jobs` or `threads` is below 1, or no machine of the cluster has that many
            CPUs and the GPU.
        RuntimeError: If an item's worker was killed `MAX_TRIES` times, or Ray is not installed.
        Exception: Whatever the function raises, at once.
    """
    for name, value in (('jobs', jobs), ('threads', threads)):
        if value is not None and value < 1:
            raise ValueError(f'`{name}` must be at least 1, got {value}')
    threads = threads or cores_per_job(jobs)
    if ray_address is not None:
        found = _map_on_ray(function, items, jobs, ray_address, threads, uses_gpu)
    elif jobs > 1:
        found = _map_in_processes(function, items, jobs, threads)
    else:
        found = _map_here(function, items, threads)
    results: dict[int, Result] = {}
    # Closed when something is raised, so that no worker outlives this call.
    with closing(found), tqdm(total=len(items), desc=description, disable=None) as progress:
        for index, result in found:
            results[index] = result
            progress.update()
    return [results[index] for index in range(len(items))]


def cores_per_job(jobs: int) -> int:
    """Give the cores of this machine, shared out among jobs; at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, jobs))


@contextmanager
def ray_session(address: str, num_cpus: int) -> Iterator[Any]:
    """Start Ray or join a cluster and give the module; calls of `map_in_order` inside share it.

    Args:
        address: As the `ray_address` of `map_in_order`.
        num_cpus: CPUs that Ray may use, if it is started here.

    Raises:
        RuntimeError: If Ray is not installed.
        ConnectionError: If there is no cluster at the address.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    own: dict[str, Any] = {}
    if address == 'local':
        # What can be imported here can be there, whatever folder this was started in.
        environment = {'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
        own = {'num_cpus': num_cpus, 'include_dashboard': False}
        own['runtime_env'] = {'env_vars': environment}
    ray.init(address, log_to_driver=False, logging_level='ERROR', **own)
    try:
        yield ray
    finally:
        ray.shutdown()


def _map_here(function: Function, items: Sequence[Any], threads: int) -> Numbered:
    with using_threads(threads):
        for index, item in enumerate(items):
            yield index, function(item)


def _map_in_processes(
    function: Function, items: Sequence[Any], jobs: int, threads: int
) -> Numbered:
    with tempfile.TemporaryDirectory() as folder:
        # In a file: a process that is killed before it has read what goes through a pipe hangs its
        # starter. As bytes, because torch would hand over every tensor as an open file.
        payload = Path(folder, 'function')
        payload.write_bytes(pickle.dumps(function))
        yield from _map_with(payload, items, jobs, threads)


def _map_with(payload: Path, items: Sequence[Any], jobs: int, threads: int) -> Numbered:
    start = ('', payload, threads, Path.cwd())
    context = multiprocessing.get_context('spawn')
    idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()

    def new_worker() -> ProcessPoolExecutor:
        # A pool of its own: when it is killed, the other workers work on.
        return ProcessPoolExecutor(1, context, _start_worker, start)

    def try_on(item: Any) -> Any:
        for _ in range(MAX_TRIES):
            worker = idle.get()
            try:
                return worker.submit(_work, item).result()
            except BrokenProcessPool:
                worker.shutdown()
                worker = new_worker()
            finally:
                idle.put(worker)
        raise RuntimeError(_KILLED.format(item))

    count = max(1, min(jobs, len(items)))
    for _ in range(count):
        idle.put(new_worker())
    callers = ThreadPoolExecutor(count)
    try:
        futures = {callers.submit(try_on, item): index for index, item in enumerate(items)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        callers.shutdown(cancel_futures=True)
        for _ in range(count):
            idle.get().shutdown()


def _map_on_ray(
    function: Function,
    items: Sequence[Any],
    jobs: int,
    address: str,
    threads: int,
    uses_gpu: bool,
) -> Numbered:
    with ray_session(address, jobs * threads) as ray:
        num_gpus = int(uses_gpu and ray.cluster_resources().get('GPU', 0) >= 1)
        _check_room(ray, threads, num_gpus)
        task = ray.remote(_work_on_ray).options(
            num_cpus=threads, num_gpus=num_gpus, max_retries=MAX_TRIES - 1
        )
        payload = ray.put(pickle.dumps(function))
        running = {
            # In a list it stays a reference, which a worker follows once.
            task.remote([payload], item, threads, Path.cwd()): index
            for index, item in enumerate(items)
        }
        while running:
            [done], _ = ray.wait(list(running))
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.WorkerCrashedError as error:
                raise RuntimeError(_KILLED.format(items[running[done]])) from error
            yield running.pop(done), result


def _check_room(ray: Any, num_cpus: int, num_gpus: int) -> None:
    """Raise ValueError if no machine can run a task, for which Ray would wait for ever."""
    machines = [node['Resources'] for node in ray.nodes() if node['Alive']]
    most = max((m.get('CPU', 0) for m in machines if m.get('GPU', 0) >= num_gpus), default=0)
    if num_cpus > most:
        where = 'machine with a GPU' if num_gpus else 'machine'
        limit = f'at most {most:g}, the CPUs of the largest {where} of the cluster'
        raise ValueError(f'`threads` must be {limit}, got {num_cpus}')


def _start_worker(key: str, payload: bytes | Path, threads: int, folder: Path) -> None:
    global _loaded
    if folder.is_dir():
        os.chdir(folder)  # relative paths mean here what they mean where the work is given out
    os.environ['OMP_NUM_THREADS'] = str(threads)  # for what is imported later
    set_num_threads(threads)
    data = payload.read_bytes() if isinstance(payload, Path) else payload
    _loaded = key, pickle.loads(data)


def _work(item: Any) -> Any:
    assert _loaded is not None
    return _loaded[1](item)


def _work_on_ray(references: list[Any], item: Any, threads: int, folder: Path) -> Any:
    """Work on an item; the function stays loaded, because Ray gives a worker many items."""
    key = references[0].hex()
    if _loaded is None or _loaded[0] != key:
        _start_worker(key, _import_ray().get(references[0]), threads, folder)
    return _work(item)


def _import_ray() -> Any:
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'  # read when it starts: nothing phones home
    try:
        import ray
    except ImportError as error:
        text = "`ray_address` needs the package ray: pip install 'dcfm_ros[cluster]'"
        raise RuntimeError(text) from error
    return ray
