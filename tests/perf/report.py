#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Tables, CSV and plot of one run of tests/perf/run.

usage: report.py [--readme] DIRECTORY

Reads info there, and of each store cells, calls, targets and attaches (lines of
KEY=VALUE words), prints the tables, writes results.csv, calls.csv, targets.csv,
attaches.csv, and iops.gp for gnuplot. --readme: prints the table of README.md and
writes nothing.
"""

import csv
import json
import os
import re
import statistics
import sys

RATIOS = ["qsd-tuned", "loop", "vblkd-base"]
WIDTH = 110


def read_lines(directory, info, name):
    """Of all stores, each line as a dict."""
    ret = []
    for store in info["stores"].split():
        path = os.path.join(directory, store, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                ret += [dict(word.split("=", 1) for word in line.split()) for line in file]
    return ret


def read_info(directory):
    with open(os.path.join(directory, "info"), encoding="utf-8") as file:
        info = dict(line.rstrip("\n").split("=", 1) for line in file)
    info["kernel"] = "?"
    for store in info["stores"].split():
        path = os.path.join(directory, store, "kernel")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                info["kernel"] = file.read().strip()
    return info


def write_csv(path, rows):
    if not rows:
        return
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, fields, restval="")
        out.writeheader()
        out.writerows(rows)


def add_fio(directory, cells):
    """Completes cells with what fio said; those without I/O are left out and named."""
    ret, empty = [], []
    for cell in cells:
        name = ".".join(cell[key] for key in ("store", "target", "job", "round"))
        path = os.path.join(directory, cell["store"], "fio", name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        # Notes may stand in front.
        jobs = json.loads(text[text.index("{"):])["jobs"]
        used = [job[way] for job in jobs for way in ("read", "write") if job[way]["total_ios"]]
        if not used or any(job["error"] for job in jobs):
            empty.append(name)
            continue
        total = sum(way["total_ios"] for way in used)
        mean = sum(way["clat_ns"]["mean"] * way["total_ios"] for way in used) / total
        last = max(way["clat_ns"].get("percentile", {}).get("99.000000", 0) for way in used)
        cell.update(iops=f"{sum(way['iops'] for way in used):.0f}",
                    mb_s=f"{sum(way['bw_bytes'] for way in used) / 1e6:.1f}",
                    lat_us=f"{mean / 1e3:.1f}", p99_us=f"{last / 1e3:.1f}")
        ret.append(cell)
    return ret, empty


def medians(cells):
    """(store, target, job) -> (median IOPS, spread in percent)"""
    values = {}
    for cell in cells:
        key = (cell["store"], cell["target"], cell["job"])
        values.setdefault(key, []).append(float(cell["iops"]))
    ret = {}
    for key, iops in values.items():
        middle = statistics.median(iops)
        ret[key] = (middle, 100 * (max(iops) - min(iops)) / middle)
    return ret


def short(iops):
    return f"{iops / 1000:.1f}" if iops < 99950 else f"{iops / 1000:.0f}"


def table_head(targets, ratios):
    names = [name.replace("qemu-nbd", "q.nbd").split("-", 1) + [""] for name in targets]
    over = [name.replace("vblkd-", "").split("-", 1) + [""] for name in ratios]
    lines = []
    for i in range(2):
        line = " " * 19 + "".join(f"{name[i]:>7}" for name in names)
        line += "".join(f"{'/' + name[0] if i == 0 else name[1]:>6}" for name in over)
        lines.append(line)
    return "\n".join(line.rstrip() for line in lines)


def speed_row(data, store, job, targets, ratios):
    line = f" {job:<18}"
    for target in targets:
        value = data.get((store, target, job))
        line += f"{short(value[0]) if value else '-':>7}"
    own = data.get((store, "vblkd", job))
    for target in ratios:
        value = data.get((store, target, job))
        line += f"{own[0] / value[0]:>6.2f}" if own and value else f"{'-':>6}"
    return line


def speed_table(info, data):
    """IOPS in thousands, a line for each job, then what vblkd is of the others."""
    measured = {target for _, target, _ in data}
    targets = [name for name in info["targets"].split() if name in measured]
    ratios = [name for name in RATIOS if name in targets and "vblkd" in targets]
    room = (WIDTH - 19 - 6 * len(ratios)) // 7
    print("IOPS in thousands; then vblkd divided by others")
    for first in range(0, len(targets), room):
        part = targets[first:first + room]
        # Once is enough.
        last = ratios if first + room >= len(targets) else []
        print(table_head(part, last))
        for store in info["stores"].split():
            print(store)
            for job in info["jobs"].split():
                print(speed_row(data, store, job, part, last))
                if int(info["rounds"]) > 1:
                    spread_row(data, store, job, part)
    print()


def spread_row(data, store, job, targets):
    line = f" {'  spread, %':<18}"
    for target in targets:
        value = data.get((store, target, job))
        line += f"{value[1]:>7.0f}" if value else f"{'-':>7}"
    print(line)


def ratio_of(text, of):
    return f"{int(text) / int(of):.3f}"


def request_table(cells, calls):
    """What one request costs the daemon, where calls were traced."""
    if not calls:
        return
    print("For each request: context switches of the daemon and of the whole system, CPU of the")
    print("daemon in us, and its system calls (traced apart, which changes batches a little)")
    print(f"{'':<41}{'switches':>14}{'CPU':>8}{'uring':>9}{'INJECT':>9}{'read/':>9}{'other':>9}")
    print(f"{'':<41}{'own':>7}{'all':>7}{'us':>8}{'enter':>9}{'IRQ':>9}{'write':>9}{'':>9}")
    first = {(c["store"], c["target"], c["job"]): c for c in reversed(cells)}
    for call in calls:
        key = (call["store"], call["target"], call["job"])
        cell = first.get(key, {})
        line = f" {key[0]:<7}{key[1]:<15}{key[2]:<18}"
        line += f"{float(cell.get('daemon_switches') or 0):>7.2f}"
        line += f"{float(cell.get('system_switches') or 0):>7.2f}"
        line += f"{float(cell.get('daemon_ns') or 0) / 1000:>8.1f}"
        for name in ("enter", "inject", "rw", "other"):
            line += f"{ratio_of(call[name], call['requests']):>9}"
        print(line)
    print()


def attach_figures(rows, what):
    """(milliseconds, CPU milliseconds, they are sure) of "attach" or "detach"

    The first attach reads programs; while a guest with --icount waits for its
    host the clock goes on, and only what ran is known.
    """
    rows = rows[1:] or rows
    sure = [row for row in rows if row[what + "_host"] == "0"]
    used = sure or rows
    return (statistics.median(int(row[what + "_us"]) for row in used) / 1e3,
            statistics.median(int(row[what + "_cpu_ns"]) for row in used) / 1e6, bool(sure))


def target_table(rows, attaches):
    """A line for each store and target."""
    of = {}
    for row in attaches:
        of.setdefault((row["store"], row["target"]), []).append(row)
    rows = [row for row in rows if row["target"] != "floor" and row["round"] == "1"]
    if not rows:
        return
    print("Attach: from the first command to a node that can be read, and detach; ms, and ms of CPU")
    print("of the whole system in it (the driver's probe and a dd that looks are the same for all).")
    print("~: the clock is not sure. Memory: of keeper and worker, what they share counted twice.")
    print("Wake-ups: of the idle daemon, each second")
    print(f"{'':<23}{'attach':>9}{'CPU':>8}{'detach':>9}{'CPU':>8}{'RSS MiB':>10}{'locked':>8}"
          f"{'threads':>9}{'wake-ups':>10}")
    for row in rows:
        line = f" {row['store']:<7}{row['target']:<15}"
        for what in ("attach", "detach"):
            took, cpu, sure = attach_figures(of[row["store"], row["target"]], what)
            line += f"{('' if sure else '~') + format(took, '.0f'):>9}{cpu:>8.0f}"
        line += f"{int(row['rss_kb']) / 1024:>10.1f}{int(row['locked_kb']) / 1024:>8.1f}"
        print(line + f"{row['threads']:>9}{row['idle_wakeups'] or '-':>10}")
    print()


def safety_table(info, data):
    """What a request costs more with a feature than without; a nanosecond is an instruction."""
    targets = [name for name in info["targets"].split() if re.match("vblkd-no", name)]
    if not targets:
        return
    print("Cost of safety features: instructions of a request, all that take part; then what the")
    print("feature adds to it, in instructions and per cent (below 1 % is no more than noise)")
    print(f"{'':<27}{'all':>9}" + "".join(f"{name[8:]:>19}" for name in targets))
    for store in info["stores"].split():
        for job in info["jobs"].split():
            own = data.get((store, "vblkd", job))
            if not own:
                continue
            line = f" {store:<7}{job:<19}{1e9 / own[0]:>9.0f}"
            for target in targets:
                value = data.get((store, target, job))
                less = 1e9 / own[0] - 1e9 / value[0] if value else 0
                text = f"{less:+.0f} {less * own[0] / 1e7:+.1f} %" if value else "-"
                line += f"{text:>19}"
            print(line)
    print()


def scale_table(info, data):
    """Instructions of a request by depth and by number of devices."""
    if info["mode"] != "scale":
        return
    print("Instructions of a request, all that take part (d: of so many devices one has I/O;")
    print("a: all have, each at that depth)")
    targets = info["targets"].split()
    print(f"{'depth':>8}" + "".join(f"{name.replace('vblkd-', ''):>9}" for name in targets))
    for store in info["stores"].split():
        for job in info["jobs"].split():
            values = [data.get((store, target, job)) for target in targets]
            texts = [f"{1e9 / value[0]:.0f}" if value else "-" for value in values]
            print(f"{job.split('-qd')[-1]:>8}" + "".join(f"{text:>9}" for text in texts))
    print()


STORE_TEXTS = {"xfs": "XFS file in page cache", "ext4": "ext4 file in page cache", "tmpfs": "tmpfs file",
               "direct": "O_DIRECT on null_blk", "null": "null backend"}
README_TARGETS = {"loop": "kernel loop", "vblkd": "vblkd",
                  "qsd-tuned": "qemu-storage-daemon", "nbdkit-tuned": "nbdkit",
                  "qemu-nbd-tuned": "qemu-nbd"}


def job_text(job):
    """randread-4k-qd32 -> 4k random read QD32"""
    match = re.fullmatch(r"(rand)?(read|write|mix70|fsync)-(\w+)-qd(\d+)(-2j)?", job)
    names = {"mix70": "70/30 mix", "fsync": "random write + fdatasync"}
    way = names.get(match[2], ("random " if match[1] else "sequential ") + match[2])
    return f"{match[3]} {way} QD{match[4]}" + (", 2 threads" if match[5] else "")


def readme_table(info, data):
    targets = [name for name in README_TARGETS if any(key[1] == name for key in data)]
    ratios = [name for name in targets if name not in ("vblkd", "qemu-nbd-tuned")]
    head = ["store, job"] + [README_TARGETS[name] for name in targets]
    head += [f"vblkd / {README_TARGETS[name].replace('kernel ', '').replace('qemu-storage-daemon', 'qsd')}"
             for name in ratios]
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for store in info["stores"].split():
        for job in info["jobs"].split():
            own = data.get((store, "vblkd", job))
            if not own:
                continue
            row = [f"{STORE_TEXTS[store]}, {job_text(job)}"]
            for target in targets:
                value = data.get((store, target, job))
                row.append(short(value[0]) if value else "-")
            for target in ratios:
                value = data.get((store, target, job))
                row.append(f"{own[0] / value[0]:.2f}" if value else "-")
            print("| " + " | ".join(row) + " |")
    clock = "guest instructions as clock" if info["mode"] not in ("smp2", "native") else info["mode"]
    how = f"`tests/perf/run{' --quick' if info['quick'] else ''} --readme`"
    print(f"\nThousand IOPS. Commit {info['commit'][:12]}, {info['date']}, by {how}: kernel {info['kernel']}, "
          f"{info['rounds']} x {info['cell_ms']} ms a cell,\n{clock}; qemu-storage-daemon, nbdkit and qemu-nbd "
          "tuned as vblkd tunes itself: no scheduler on the disk, SCHED_BATCH.")


def depth_of(job):
    match = re.fullmatch(r"(randread|randwrite)-4k-qd(\d+)", job)
    return (match.group(1), int(match.group(2))) if match else None


def plot(directory, info, data):
    """Writes iops.gp: a picture for each store and direction, if there are two depths."""
    series = {}
    for (store, target, job), (iops, _) in data.items():
        where = depth_of(job)
        if where:
            key = (store, where[0])
            series.setdefault(key, {}).setdefault(target, []).append((where[1], iops))
    panels = [key for key in series if any(len(points) > 1 for points in series[key].values())]
    if not panels:
        return
    rows = (len(panels) + 1) // 2
    size = (1100, 80 + 340 * rows)
    with open(os.path.join(directory, "iops.gp"), "w", encoding="utf-8") as file:
        for kind, terminal in (("svg", "svg"), ("png", "pngcairo")):
            file.write(f"set terminal {terminal} size {size[0]},{size[1]} background 'white' noenhanced\n"
                       f"set output 'iops.{kind}'\n" + PLOT_STYLE +
                       f"set multiplot layout {rows},{min(2, len(panels))} "
                       f"title 'vblkd {info['commit']}, kernel {info['kernel']}, {info['mode']}'\n")
            for key in panels:
                plot_panel(file, key, series[key], info["targets"].split())
            file.write("unset multiplot\nunset output\n")


PLOT_STYLE = """set logscale x 2
set key outside right top samplen 2
set xlabel 'queue depth'
set ylabel 'thousand IOPS'
set yrange [0:*]
set grid
"""

# A colour for a program; as installed it is dashed.
PLOT_COLOURS = {"floor": "gray50", "loop": "black", "vblkd": "red", "qsd": "blue", "nbdkit": "dark-green",
                "qemu-nbd": "orange", "ublk": "purple"}


def line_style(name):
    program = name.removesuffix("-tuned")
    dashed = program in ("qsd", "nbdkit", "qemu-nbd") and program == name
    ret = f"lw {3 if name == 'vblkd' else 1.5} pt 7 ps 0.6"
    if program in PLOT_COLOURS:
        ret += f" lc rgb '{PLOT_COLOURS[program]}'"
    return ret + (" dt 2" if dashed else "")


def plot_panel(file, key, lines, order):
    names = [name for name in order if name in lines]
    for i, name in enumerate(names):
        points = "".join(f"{depth} {iops / 1000}\n" for depth, iops in sorted(lines[name]))
        file.write(f"$d{i} << EOD\n{points}EOD\n")
    depths = sorted({depth for points in lines.values() for depth, _ in points})
    file.write(f"set xtics ({', '.join(str(depth) for depth in depths)})\n")
    file.write(f"set title '{STORE_TEXTS[key[0]]}, 4k {key[1]}'\nplot ")
    file.write(", ".join(f"$d{i} with linespoints {line_style(name)} title '{name}'"
                         for i, name in enumerate(names)) + "\n")


def main():
    args = sys.argv[1:]
    readme = "--readme" in args
    if len(args) != 1 + readme:
        sys.exit(__doc__)
    directory = args[-1]
    info = read_info(directory)
    cells, calls, targets, attaches = (read_lines(directory, info, name)
                                       for name in ("cells", "calls", "targets", "attaches"))
    cells, empty = add_fio(directory, cells)
    data = medians(cells)
    if readme:
        readme_table(info, data)
        return
    print(f"vblkd {info['commit']}" + (f" and {info['base']}" if info["base"] else "") +
          f", {info['date']}, kernel {info['kernel']}, {info['mode']}, "
          f"{info['cell_ms']} ms, {info['rounds']} x\n")
    speed_table(info, data)
    safety_table(info, data)
    scale_table(info, data)
    request_table(cells, calls)
    target_table(targets, attaches)
    plot(directory, info, data)
    for name, rows in (("results", cells), ("calls", calls), ("targets", targets),
                       ("attaches", attaches)):
        write_csv(os.path.join(directory, name + ".csv"), rows)
    if empty:
        sys.exit("fio did no I/O: " + " ".join(empty))


if __name__ == "__main__":
    main()
