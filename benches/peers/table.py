"""Merges the JSON lines that `run` collects into one table in Markdown.

    table.py [--all] RESULTS      with --all: every library's time, instead of the best one's
"""

import json
import statistics
import sys
from collections import defaultdict

# How many times faster than the best peer tapegrad is to be, or the milliseconds that it may take.
TIMES, MILLISECONDS = "times", "milliseconds"
TARGETS = {
    "cross_entropy 64x3": (MILLISECONDS, 0.002),
    "cross_entropy 1024x10": (MILLISECONDS, 0.015),
    "cross_entropy 512x1000": (TIMES, 2.5),
    "cross_entropy 256x32000": (TIMES, 1.8),
    "cross_entropy 256x128256": (TIMES, 2.3),
    "softmax forward 256x32000": (TIMES, 1.6),
    "log_softmax forward 256x32000": (TIMES, 1.6),
    "gather 4096x1000": (TIMES, 1.3),
    "linear classifier step": (MILLISECONDS, 0.004),
    "perceptron step": (TIMES, 1.7),
}
MATMUL_TARGET = (TIMES, 0.95)

# A case, the pass over memory that is its floor, and how many times as long it may take.
FLOORS = [
    ("cross_entropy 256x32000", "read, then copy 256x32000", None),
    ("cross_entropy 256x128256", "read, then copy 256x128256", 1.5),
    ("cross_entropy of a result 256x32000", "read, then write in place 256x32000", None),
    ("cross_entropy of a result 256x128256", "read, then write in place 256x128256", 1.4),
    ("cross_entropy forward 256x128256", "read 256x128256", None),
]

# How far libraries may differ in what they compute, in relation to the norm.
TOLERANCE = 1e-3

# The products of a perceptron step, as (n, k, m): two forward, and backward two by the weights and one by
# the hidden layer.
PERCEPTRON_PRODUCTS = [(64, 784, 128), (64, 128, 10), (784, 64, 128), (128, 64, 10), (64, 10, 128)]
PERCEPTRON_TARGET = 1.7


def read(path):
    """The milliseconds {case: {(library, threads): ms}}, the libraries' versions, and who computed something else.

    Of several passes it is the median; of several ways in which a library does a case, the fastest.
    """
    samples, versions, digests = defaultdict(lambda: defaultdict(list)), {}, defaultdict(list)
    with open(path) as lines:
        for line in map(json.loads, lines):
            samples[line["case"]][line["library"], line["threads"], line.get("way", 0)].append(line["ms"])
            versions[line["library"]] = line["version"]
            digests[line["case"]].append((line["library"], line["digest"]))
    medians = {case: {} for case in samples}
    for case, by_way in samples.items():
        for (*key, _), values in by_way.items():
            ms = statistics.median(values)
            medians[case][tuple(key)] = min(ms, medians[case].get(tuple(key), ms))
    return medians, versions, sorted({other for case in digests for other in others(case, digests[case])})


def others(case, digests):
    """The libraries whose digest of a case differs from tapegrad's: its norm, or its product with given numbers."""
    ours = next((digest for library, digest in digests if library == "tapegrad"), None)
    for library, digest in digests if ours else []:
        if not all(abs(theirs - own) <= TOLERANCE * ours[0] for theirs, own in zip(digest, ours)):
            yield f"{case}: {library} computes {digest} where tapegrad computes {ours}"


def best(times, wanted):
    """The fastest entry whose (library, threads) is wanted, as (ms, library, threads)."""
    return min(((ms, *key) for key, ms in times.items() if wanted(*key)), default=None)


def time(ms):
    """Three digits, in the unit that suits."""
    value, unit = (ms * 1e3, "µs") if ms < 1 else (ms, "ms")
    return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"


def entry(found, rate=None):
    ms, library, threads = found
    extra = f", {rate / ms:.0f} GFLOP/s" if rate else ""
    return f"{library}, {threads} thread{'s' if threads > 1 else ''}: {time(ms)}{extra}"


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def judged(text, met):
    return f"{text} ({'met' if met else 'missed'})"


def comparison(name, times, target, rate=None):
    """The line of one case: the best peer, ours, their ratio, the target."""
    ours = best(times, lambda library, _: library == "tapegrad")
    peer = best(times, lambda library, _: library not in ("tapegrad", "hardware"))
    if ours is None:
        return None
    if peer is None:
        return row(name, "-", entry(ours, rate), "-", "-")
    ratio = peer[0] / ours[0]
    match target:
        case (kind, limit) if kind == TIMES:
            goal = judged(f"at least {limit:g}", ratio >= limit)
        case (kind, limit) if kind == MILLISECONDS:
            goal = judged(f"at most {time(limit)}", ours[0] <= limit)
        case _:
            goal = "-"
    return row(name, entry(peer, rate), entry(ours, rate), f"peer / ours = {ratio:.2f}", goal)


def floor(name, floor_name, floor_time, ours, limit):
    """The line of one case beside what the machine needs for the same memory or products."""
    ratio = ours[0] / floor_time[0]
    goal = judged(f"at most {limit:g}", ratio <= limit) if limit else "-"
    return row(f"{name}, beside its floor: {floor_name}", entry(floor_time), entry(ours), f"ours / floor = {ratio:.2f}", goal)


def gflop(n, k, m):
    return 2 * n * k * m * 1e-6  # GFLOP/s if divided by milliseconds


def table(medians):
    yield row("case", "best peer, or floor", "tapegrad", "ratio", "target")
    yield row(*["---"] * 5)
    for case, times in medians.items():
        words = case.split(" ")
        if words[0] == "matmul":
            rate = gflop(*map(int, words[1].split("x")))
            for count in sorted({threads for _, threads in times}):
                only = {key: ms for key, ms in times.items() if key[1] == count}
                yield comparison(f"{case}, {count} thread{'s' if count > 1 else ''}", only, MATMUL_TARGET, rate)
        else:
            yield comparison(case, times, TARGETS.get(case))

    def fastest(case, library):
        return best(medians.get(case, {}), lambda name, _: name == library)

    for case, floor_case, limit in FLOORS:
        ours, machine = fastest(case, "tapegrad"), fastest(floor_case, "hardware")
        if ours and machine:
            yield floor(case, floor_case, machine, ours, limit)
    step, square = fastest("perceptron step", "tapegrad"), fastest("matmul 1024x1024x1024", "tapegrad")
    if step and square:
        share = sum(gflop(*product) for product in PERCEPTRON_PRODUCTS) / gflop(1024, 1024, 1024)
        products = (square[0] * share, "tapegrad", square[2])
        yield floor("perceptron step", "its products at the rate of 1024^3", products, step, PERCEPTRON_TARGET)


def all_libraries(medians, versions):
    """Each library's time, and in parentheses the number of threads that suits it better."""
    libraries = sorted(versions, key=lambda library: (library == "hardware", library != "tapegrad", library))
    yield row("case", *(f"{library} {versions[library]}".strip() for library in libraries))
    yield row(*["---"] * (1 + len(libraries)))
    for case, times in medians.items():
        found = [best(times, lambda library, _: library == wanted) or (None,) * 3 for wanted in libraries]
        yield row(case, *(f"{time(ms)} ({threads})" if ms else "-" for ms, _, threads in found))


def main():
    medians, versions, differences = read(sys.argv[-1])
    lines = all_libraries(medians, versions) if "--all" in sys.argv else table(medians)
    print("\n".join(line for line in lines if line))
    if differences:
        sys.exit("\n".join(["not the same work:", *differences]))


if __name__ == "__main__":
    main()
