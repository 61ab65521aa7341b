"""Reading what TensorFlow's `benchmark_model` prints.

The tool's text has changed over the years; every form below is read, with or without the prefix
that the logger adds ("INFO: ", "I tflite  : ", or logcat's date, process and tag):

- the result: `Inference timings in us: Init: 6395, First inference: 2761, Warmup (avg): 3243.58,
  Inference (avg): 2942.27`, and before 2019 `Average inference timings in us: Warmup: 76605.9,
  Init: 9933, no stats: 66767.6`;
- the runs, once for the warm-up and once for the measurement: `count=50 first=… curr=… min=… max=…
  avg=… std=…`, newer ones with `p5=… median=… p95=…`, and `count=1 curr=…` for a single run;
- memory: `Memory footprint delta from the start of the tool (MB): init=… overall=…`, before that
  `Peak memory footprint (MB): init=… overall=…`, and `Overall peak memory footprint (MB) via
  periodic monitoring: …`;
- what a delegate takes: `Replacing 29 out of 65 node(s) with delegate (TfLiteGpuDelegateV2) node,
  yielding 3 partitions for subgraph 0.` (parts of both kinds), `… will be partially executed by the
  delegate w/ 2 delegate kernels.`;
- operations: the tables `Run Order`, `Top by Computation Time` and `Summary by node type`, aligned
  or as CSV, with or without the column of start times, a delegate's own operations among the
  others or in a table after `Delegate internal:`.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator

from keras_nas.errors import KerasNasError

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_PREFIX = re.compile(
    r"^(?:\d\d-\d\d \d\d:\d\d:\d\d\.\d+\s+(?:\d+\s+\d+\s+)?)?"
    r"(?:[VDIWEF][/ ][\w.-]+\s*(?:\(\s*\d+\))?\s*: ?|(?:VERBOSE|INFO|WARNING|ERROR): )?"
)
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: ({_NUMBER}), First inference: ({_NUMBER}), "
    rf"Warmup \(avg\): ({_NUMBER}), Inference \(avg\): ({_NUMBER})"
)
_OLD_TIMINGS = re.compile(
    rf"Average inference timings in us: Warmup: ({_NUMBER}),(?: Init: ({_NUMBER}),)? "
    rf"no stats: ({_NUMBER})"
)
_RUNS = re.compile(r"^count=\d+")
_FIELD = re.compile(rf"(\w+)=({_NUMBER})")
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    rf"init=({_NUMBER}) overall=({_NUMBER})"
)
_PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: ({_NUMBER})")
_DELEGATION = re.compile(
    r"(completely|partially|not be) executed by the delegate|"
    r"(Failed to (?:apply|create)\b.*delegate.*)"
)
_KERNELS = re.compile(r"executed by the delegate w/ (\d+) delegate kernels")
_REPLACED = re.compile(
    r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\S+)\) node, "
    r"yielding (\d+) partitions for (?:the whole graph|subgraph 0\b)"
)
_TITLE = re.compile(r"^=+ (.+?) =+$")
_RUN_SECTION = "Operator-wise Profiling Info for Regular Benchmark Runs"
_INIT_SECTION = "Profiling Info for Benchmark Initialization"
_COLUMNS = {
    "node type": ("type", r"\S.*?"),
    "start": ("start_ms", _NUMBER),
    "first": ("first_ms", _NUMBER),
    "avg ms": ("avg_ms", _NUMBER),
    "%": ("share", _NUMBER + "%"),
    "avg %": ("share", _NUMBER + "%"),
    "cdf%": ("cdf", _NUMBER + "%"),
    "cdf %": ("cdf", _NUMBER + "%"),
    "mem kb": ("memory_kb", _NUMBER),
    "count": ("count", r"\d+"),
    "times called": ("times_called", r"\d+"),
    "name": ("name", r"\S.*"),
}


class BenchmarkModelError(KerasNasError):
    """The tool printed no result; the message is its own last complaint."""


@dataclasses.dataclass(frozen=True)
class RunStatistics:
    """One `count=…` line, in milliseconds; None where this version prints no such figure."""

    count: int
    mean_ms: float | None = None
    first_ms: float | None = None
    last_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    std_ms: float | None = None
    p5_ms: float | None = None
    median_ms: float | None = None
    p95_ms: float | None = None


@dataclasses.dataclass(frozen=True)
class OpTime:
    """One line of the `Run Order` table.

    `avg_ms` is the operation's average time in one run of the model (the tool prints the time of
    one call: it is multiplied by the calls), `share` its part of all operations' time, 0 to 1.
    """

    name: str
    type: str
    avg_ms: float
    share: float
    times_called: int


@dataclasses.dataclass(frozen=True)
class TypeTime:
    """One line of `Summary by node type`: all operations of one type in one run."""

    type: str
    count: int
    avg_ms: float
    share: float


@dataclasses.dataclass(frozen=True)
class Profile:
    """The operations of the measured runs, in their order, and their sums by type."""

    operations: list[OpTime] = dataclasses.field(default_factory=list)
    types: list[TypeTime] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Replaced:
    """A delegate took `taken` of a graph's `nodes`; `parts` counts its parts and the others'."""

    delegate: str
    taken: int
    nodes: int
    parts: int


@dataclasses.dataclass(frozen=True)
class BenchmarkModelLog:
    """What one run of `benchmark_model` told. Times in milliseconds, memory in megabytes (2²⁰).

    `delegation` is "complete", "partial" or "none" when the tool said how much of the graph the
    asked-for delegate took, else None; `kernels` is in how many pieces, where it said so.
    `replaced` is what each delegate took of the main graph, in the order of the log.
    """

    mean_ms: float
    init_ms: float | None
    first_ms: float | None
    warmup_mean_ms: float | None
    warmup: RunStatistics | None
    inference: RunStatistics | None
    memory_init_mb: float | None
    memory_overall_mb: float | None
    peak_memory_mb: float | None
    delegation: str | None
    kernels: int | None
    replaced: list[Replaced]
    profile: Profile


def parse(text: str) -> BenchmarkModelLog:
    """Reads the output of one run of the tool.

    Raises:
        BenchmarkModelError: It holds no result line: the tool failed or was cut short.
    """
    lines = [_strip(line) for line in text.splitlines()]
    timings = _search_last(_TIMINGS, lines)
    old = _search_last(_OLD_TIMINGS, lines)
    init: float | None
    first: float | None
    if timings:
        init, first, warmup_mean, mean = (_milliseconds(us) for us in timings.groups())
    elif old:
        warmup_mean, mean = _milliseconds(old[1]), _milliseconds(old[3])
        init, first = _milliseconds(old[2]) if old[2] else None, None
    else:
        raise BenchmarkModelError(f"`benchmark_model` gave no result: {complaint(text)}")
    runs = [_runs(line) for line in lines if _RUNS.match(line)]
    memory = _search_last(_MEMORY, lines)
    peak = _search_last(_PEAK, lines)
    kernels = _search_last(_KERNELS, lines)
    return BenchmarkModelLog(
        mean_ms=mean,
        init_ms=init,
        first_ms=first,
        warmup_mean_ms=warmup_mean,
        warmup=runs[-2] if len(runs) > 1 else None,
        inference=runs[-1] if runs else None,
        memory_init_mb=float(memory[1]) if memory else None,
        memory_overall_mb=float(memory[2]) if memory else None,
        peak_memory_mb=float(peak[1]) if peak else None,
        delegation=_delegation(lines),
        kernels=int(kernels[1]) if kernels else None,
        replaced=[
            Replaced(found[3], int(found[1]), int(found[2]), int(found[4]))
            for found in map(_REPLACED.search, lines)
            if found
        ],
        profile=parse_profile(text),
    )


def parse_profile(text: str) -> Profile:
    """Reads the operations' tables of the measured runs, from the output or from its CSV file.

    Where a delegate's operations stand in a table of their own, they take the place of the
    delegate's line. Without tables both lists of the result are empty.
    """
    tables: dict[tuple[str, str], list[dict[str, str]]] = collections.defaultdict(list)
    for section, title, row in _rows([_strip(line) for line in text.splitlines()]):
        tables[section, title].append(row)
    main, inner = tables["run", "Run Order"], tables["delegate", "Run Order"]
    operations = [_op_time(row) for row in main]
    if inner:
        hosts = [i for i, op in enumerate(operations) if "delegate" in op.type.lower()]
        place = hosts[0] if hosts else len(operations)
        operations = [op for i, op in enumerate(operations) if i not in hosts]
        operations[place:place] = [_op_time(row) for row in inner]
    total = sum(op.avg_ms for op in operations)
    return Profile(
        [dataclasses.replace(op, share=op.avg_ms / total if total else 0.0) for op in operations],
        [
            TypeTime(
                row["type"],
                int(row["count"]),
                float(row["avg_ms"]),
                float(row["share"].rstrip("%")) / 100,
            )
            for row in tables["run", "Summary by node type"]
        ],
    )


def _rows(lines: list[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yields (section, table's title, fields) for each line of each table."""
    section, title, pattern = "run", "", None
    for line in lines:
        heading = _TITLE.match(line.strip())
        if _INIT_SECTION in line:
            section = "init"
        elif _RUN_SECTION in line or line.startswith("Primary graph"):
            section = "init" if section == "init" and _RUN_SECTION not in line else "run"
        elif line.startswith("Subgraph (index:") and line.rstrip().endswith("profile:"):
            section = "subgraph"
        elif line.startswith("Delegate internal:"):
            section = "delegate" if section != "init" else "init"
        elif heading:
            title, pattern = heading[1], None
        elif title and pattern is None:
            pattern = _row_pattern(line)
            title = title if pattern else ""
        elif pattern:
            row = pattern.match(line)
            if row:
                yield section, title, row.groupdict()
            else:
                title, pattern = "", None


def _row_pattern(header: str) -> re.Pattern[str] | None:
    """Returns the pattern of a table's rows, from its line of column names."""
    bracketed = re.findall(r"\[([^\]]+)\]", header)
    names = [name.strip().lower().replace("_", " ") for name in bracketed or header.split(",")]
    columns = [_COLUMNS[name] for name in names if name in _COLUMNS]
    if len(columns) < len(names):
        return None
    separator = r"\s+" if bracketed else r"\s*,\s*"
    fields = separator.join(f"(?P<{name}>{form})" for name, form in columns)
    return re.compile(rf"^\s*{fields}\s*$")


def _op_time(row: dict[str, str]) -> OpTime:
    called = max(1, int(row.get("times_called", 1)))
    return OpTime(row["name"].strip(), row["type"], float(row["avg_ms"]) * called, 0.0, called)


def _runs(line: str) -> RunStatistics:
    fields = {name: float(value) for name, value in _FIELD.findall(line)}
    count = int(fields.pop("count"))
    names = {"avg": "mean_ms", "curr": "last_ms"}
    known = {field.name for field in dataclasses.fields(RunStatistics)}
    times = {names.get(name, f"{name}_ms"): value / 1e3 for name, value in fields.items()}
    if "avg" not in fields and "curr" in fields:  # a single run, or all runs alike
        last = fields["curr"] / 1e3
        times |= {"mean_ms": last, "first_ms": last, "min_ms": last, "max_ms": last, "std_ms": 0.0}
        times.setdefault("median_ms", last)
    return RunStatistics(count, **{name: t for name, t in times.items() if name in known})


def _delegation(lines: list[str]) -> str | None:
    found = _search_last(_DELEGATION, lines)
    if found is None:
        return None
    return {"completely": "complete", "partially": "partial"}.get(found[1], "none")


def complaint(text: str) -> str:
    """Returns the line in which the tool says what went wrong, as far as it says so."""
    lines = [_strip(line) for line in text.splitlines()]
    signs = re.compile(r"error|fail|cannot|can't|abort|denied|not found|killed|fault", re.I)
    complaints = [line.strip() for line in lines if signs.search(line)]
    told = [line for line in complaints if line != "Benchmarking failed."] or complaints
    printed = [line.strip() for line in lines if line.strip()]
    return (told or printed or ["it printed nothing"])[-1]


def _search_last(pattern: re.Pattern[str], lines: list[str]) -> re.Match[str] | None:
    found = [match for match in map(pattern.search, lines) if match]
    return found[-1] if found else None


def _strip(line: str) -> str:
    return _PREFIX.sub("", line, count=1)


def _milliseconds(microseconds: str) -> float:
    return float(microseconds) / 1e3
