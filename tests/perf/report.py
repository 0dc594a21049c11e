#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Tables, CSV and plot of one run of tests/perf/run.

usage: report.py DIRECTORY

Reads info, cells, calls and targets there (lines of KEY=VALUE words), prints the
tables, writes results.csv, calls.csv, targets.csv, and iops.gp for gnuplot.
"""

import csv
import json
import os
import re
import statistics
import sys

RATIOS = ["qsd-tuned", "loop", "vblkd-base"]
WIDTH = 100


def read_lines(path):
    """Each line as a dict."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [dict(word.split("=", 1) for word in line.split()) for line in file]


def read_info(directory):
    with open(os.path.join(directory, "info"), encoding="utf-8") as file:
        info = dict(line.rstrip("\n").split("=", 1) for line in file)
    try:
        with open(os.path.join(directory, "kernel"), encoding="utf-8") as file:
            info["kernel"] = file.read().strip()
    except FileNotFoundError:
        info["kernel"] = "?"
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
        with open(os.path.join(directory, "fio", name), encoding="utf-8") as file:
            text = file.read()
        # Notes may stand in front.
        job = json.loads(text[text.index("{"):])["jobs"][0]
        used = [job[way] for way in ("read", "write") if job[way]["total_ios"]]
        if not used or job["error"]:
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
    # The floor is measured on one store and stands for all.
    for (_, target, job), value in list(ret.items()):
        if target == "floor":
            for store in {key[0] for key in ret}:
                ret.setdefault((store, target, job), value)
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


def target_table(rows):
    """Of the last store: the time of the first attach is that of cold files too."""
    last = {}
    for row in rows:
        idle = row["idle_wakeups"] or last.get(row["target"], {}).get("idle_wakeups", "")
        if row["target"] != "floor":
            last[row["target"]] = dict(row, idle_wakeups=idle)
    if not last:
        return
    print("Attach: to a node that can be read. Wake-ups: of the idle daemon, each second")
    print(f" {'':<16}{'attach ms':>11}{'detach ms':>11}{'RSS MiB':>10}{'locked MiB':>12}"
          f"{'wake-ups':>10}")
    for target, row in last.items():
        print(f" {target:<16}{int(row['attach_us']) / 1000:>11.1f}"
              f"{int(row['detach_us']) / 1000:>11.1f}{int(row['rss_kb']) / 1024:>10.1f}"
              f"{int(row['locked_kb']) / 1024:>12.1f}{row['idle_wakeups'] or '-':>10}")
    print()


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
    with open(os.path.join(directory, "iops.gp"), "w", encoding="utf-8") as file:
        file.write(f"set terminal svg size 1000,{360 * rows} background 'white'\n"
                   "set output 'iops.svg'\nset logscale x 2\nset key outside right\n"
                   "set xlabel 'queue depth'\nset ylabel 'thousand IOPS'\n"
                   "set yrange [0:*]\nset grid\n"
                   f"set multiplot layout {rows},{min(2, len(panels))} "
                   f"title '{info['commit']}, {info['kernel']}, {info['mode']}'\n")
        for key in panels:
            plot_panel(file, key, series[key], info["targets"].split())
        file.write("unset multiplot\n")


def plot_panel(file, key, lines, order):
    names = [name for name in order if name in lines]
    for i, name in enumerate(names):
        points = "".join(f"{depth} {iops / 1000}\n" for depth, iops in sorted(lines[name]))
        file.write(f"$d{i} << EOD\n{points}EOD\n")
    file.write(f"set title '{key[0]}, 4k {key[1]}'\nplot ")
    file.write(", ".join(f"$d{i} with linespoints lw {3 if name == 'vblkd' else 1} title '{name}'"
                         for i, name in enumerate(names)) + "\n")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = sys.argv[1]
    info = read_info(directory)
    cells, calls, targets = (read_lines(os.path.join(directory, name))
                             for name in ("cells", "calls", "targets"))
    cells, empty = add_fio(directory, cells)
    data = medians(cells)
    print(f"vblkd {info['commit']}" + (f" and {info['base']}" if info["base"] else "") +
          f", {info['date']}, kernel {info['kernel']}, {info['mode']}, "
          f"{info['cell_ms']} ms, {info['rounds']} x\n")
    speed_table(info, data)
    request_table(cells, calls)
    target_table(targets)
    plot(directory, info, data)
    for name, rows in (("results", cells), ("calls", calls), ("targets", targets)):
        write_csv(os.path.join(directory, name + ".csv"), rows)
    if empty:
        sys.exit("fio did no I/O: " + " ".join(empty))


if __name__ == "__main__":
    main()
