"""How much RAM is left, read from file systems as Linux, containers and cgroups lay them out."""

from __future__ import annotations

from pathlib import Path

from flowrl.pipeline.available_memory import available_memory, free_ram

KIB, GIB = 2**10, 2**30
MEMINFO = "MemTotal:       24000000 kB\nMemFree:  100 kB\nMemAvailable:   10485760 kB\nHugePages_Total:   0\n"
FREE = 10 * GIB


def machine(root: Path, cgroup: str = "0::/\n", **files: str) -> Path:
    """A file system with 10 GiB available and these files, by path."""
    named = {"proc/meminfo": MEMINFO, "proc/self/cgroup": cgroup}
    for path, text in {**named, **files}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def v2(folder: str, limit: str, used: int, cached: int) -> dict[str, str]:
    base = f"sys/fs/cgroup{folder}"
    return {
        f"{base}/memory.max": f"{limit}\n",
        f"{base}/memory.current": f"{used}\n",
        f"{base}/memory.stat": f"anon 5\ninactive_file {cached}\n",
    }


def v1(folder: str, limit: int, used: int, cached: int) -> dict[str, str]:
    base = f"sys/fs/cgroup/memory{folder}"
    return {
        f"{base}/memory.limit_in_bytes": f"{limit}\n",
        f"{base}/memory.usage_in_bytes": f"{used}\n",
        f"{base}/memory.stat": f"inactive_file 1\ntotal_inactive_file {cached}\n",
    }


def test_without_limits_it_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    assert free_ram(machine(tmp_path)) == FREE


def test_a_cgroup_limits_it_and_cached_files_can_be_had_back(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/user/run\n", **v2("/user/run", str(4 * GIB), 3 * GIB, GIB))
    assert free_ram(root) == 2 * GIB


def test_a_limit_further_up_decides_when_it_is_tighter(tmp_path: Path) -> None:
    files = v2("/job", str(2 * GIB), GIB, 0) | v2("/job/step", "max", GIB, 0) | v2("", str(9 * GIB), 0, 0)
    assert free_ram(machine(tmp_path, "0::/job/step\n", **files)) == GIB


def test_the_first_version_of_cgroups(tmp_path: Path) -> None:
    lines = "5:cpu,cpuacct:/elsewhere\n4:memory:/box\n0::/\n"
    assert free_ram(machine(tmp_path, lines, **v1("/box", 3 * GIB, 2 * GIB, 512 * KIB))) == GIB + 512 * KIB


def test_a_container_sees_its_own_cgroup_as_the_root(tmp_path: Path) -> None:
    lines = "4:memory:/seen/from/outside\n"
    assert free_ram(machine(tmp_path, lines, **v1("", GIB, 0, 0))) == GIB


def test_no_limit_of_the_first_version_is_a_huge_one(tmp_path: Path) -> None:
    assert free_ram(machine(tmp_path, "4:memory:/\n", **v1("", 9223372036854771712, GIB, 0))) == FREE


def test_a_limit_that_is_used_up_leaves_nothing(tmp_path: Path) -> None:
    assert free_ram(machine(tmp_path, **v2("", str(GIB), 2 * GIB, 0))) == 0


def test_where_nothing_can_be_read_all_of_the_machine_counts(tmp_path: Path) -> None:
    everything = free_ram(tmp_path)
    assert everything is not None
    assert everything >= (free_ram() or 0) > 0


def test_this_device_has_memory() -> None:
    here = available_memory()
    assert here is not None
    assert here.free > 0
    assert here.of
