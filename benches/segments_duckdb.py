"""The files of benches/duckdb over the tables of one build, two threads. Usage:

segments_duckdb.py ours ROUND COMMAND...   runs our build, and keeps in ROUND/ours.json what it prints and in ROUND/cpu.json what it took
segments_duckdb.py theirs ROUND LAKE OUT   makes each of the same tables as Parquet in OUT, and keeps what that took in ROUND/theirs.json
segments_duckdb.py compare ROUND LAKE OUT  which rows differ, table by table
segments_duckdb.py table ROUND...          what both took, the best of all rounds

ROUND is a folder, LAKE the one our build wrote to. PROJECT (a variable) is the project folder, whose files have the keys and parameters;
MEMORY limits DuckDB.
"""
import datetime, glob, json, os, re, resource, subprocess, sys, time, tomllib
import duckdb

FRONT_MATTER = re.compile(r"/\* ---\n(.*?)\n--- \*/", re.S)
OF_SQL = ("model", "segment", "metric")

# What the files of sql/ call, and what they say differently.
MACROS = """
create macro local_date(instant, zone) as cast(timezone(zone, instant) as date);
create macro days_between
  (a, b) as b - a,
  (a, b, zone) as local_date(b, zone) - local_date(a, zone);
create macro months_apart(a, b) as
  (year(b) * 12 + month(b)) - (year(a) * 12 + month(a)) - cast(day(b) < day(a) and b <> last_day(b) as bigint);
create macro whole_months(a, b) as case when b < a then -months_apart(b, a) else months_apart(a, b) end;
create macro months_between
  (a, b) as whole_months(a, b),
  (a, b, zone) as whole_months(local_date(a, zone), local_date(b, zone));
create macro written(instant) as strftime(timezone('UTC', instant), '%Y-%m-%dT%H:%M:%SZ');

-- The median gap of sorted days.
create macro rhythm(days) as cast(list_median([days[i + 1] - days[i] for i in range(1, len(days))]) as decimal(10, 2));

-- Decimals of four digits divided as decimals are, cut off after the eighth digit: DuckDB makes a double of them.
create macro units(x) as cast(cast(x as decimal(28, 4)) * 10000 as hugeint);
create macro quotient(a, b) as cast(units(a) * 100000000 // units(b) as decimal(28, 0)) * 0.00000001;

-- `quantile_cuts` takes values that share eleven binary digits for one where there are very many. Rounding keeps the order, so that the
-- cuts can be rounded in the end.
create macro low(units) as greatest(len(bin(abs(units))) - 11, 0);
create macro roughly(units) as case when units < 0 then -((-units >> low(units)) << low(units))
  else ((units >> low(units)) << low(units)) + (1 << low(units)) - 1 end;
create macro told_apart(cuts, distinct_values) as case when distinct_values > 65536
  then [cast(roughly(cast(cut * 10000 as bigint)) as decimal(18, 0)) * 0.0001 for cut in cuts] else cuts end;
create macro fifth(x, cuts) as 1 + (x > cuts[1])::bigint + (x > cuts[2])::bigint + (x > cuts[3])::bigint + (x > cuts[4])::bigint;
"""


def connect(out, memory=None):
    db = duckdb.connect(config={"threads": 2, "temp_directory": f"{out}/spill"} | ({"memory_limit": memory} if memory else {}))
    # As DataFusion and PostgreSQL do it.
    db.execute("set timezone = 'UTC'; set default_null_order = 'nulls_last_on_asc_first_on_desc'")
    return db


def read(path):
    with open(path) as file:
        return json.load(file)


def write(path, what):
    with open(path, "w") as file:
        json.dump(what, file)


def made(build, kinds=None):
    return [table for table in build["tables"] if table["version"] is not None and (kinds is None or table["kind"] in kinds)]


def live_files(folder, version):
    """The files of a Delta table at a version, from its log."""
    log, files = os.path.join(folder, "_delta_log"), {}
    checkpoints = [n for n in (int(os.path.basename(p)[:20]) for p in glob.glob(f"{log}/*.checkpoint.parquet")) if n <= version]
    begin = max(checkpoints, default=-1)
    if begin >= 0:
        rows = duckdb.sql(f"select add.path from '{log}/{begin:020}.checkpoint.parquet' where add.path is not null").fetchall()
        files = dict.fromkeys(path for path, in rows)
    for number in range(begin + 1, version + 1):
        with open(f"{log}/{number:020}.json") as lines:
            for action in map(json.loads, lines):
                if "add" in action:
                    files[action["add"]["path"]] = None
                if "remove" in action:
                    files.pop(action["remove"]["path"], None)
    return [os.path.join(folder, name) for name in files]


def view(db, name, files, folder):
    """A table of the lake; an empty one may have no file, and has its columns from the log."""
    if files:
        return db.execute(f"create or replace view {name} as select * from read_parquet({files})")
    types = {"string": "varchar", "long": "bigint", "timestamp": "timestamptz"}
    with open(f"{folder}/_delta_log/{0:020}.json") as lines:
        meta = next(action["metaData"] for action in map(json.loads, lines) if "metaData" in action)
    fields = json.loads(meta["schemaString"])["fields"]
    columns = ", ".join(f'cast(null as {types.get(f["type"], f["type"])}) as "{f["name"]}"' for f in fields)
    return db.execute(f"create or replace view {name} as select {columns} where false")


def shipped(table):
    """Key and parameters of a file that was built."""
    with open(os.path.join(os.environ["PROJECT"], f"sql/{table['kind']}s/{table['name']}.sql")) as file:
        front = tomllib.loads(FRONT_MATTER.search(file.read())[1])
    key = front["key"]
    return [key] if isinstance(key, str) else key, front.get("params", {})


def tell(what, seconds, cpu, peak):
    print(f"{what} in {seconds:.2f} s, {cpu:.1f} s of a processor, peak {peak // 1024} MB", flush=True)


def ours(folder, *command):
    """Each table's share of the processor is told from the clock of the process, whenever the log says that a table is done."""
    path, began, before, cpu = f"{folder}/ours.json", time.time(), 0, {}
    command, log = [*command, "--log-format", "json"], {"PERENNIAL_LOG": "perennial::model=info"}
    with open(path, "w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, env=os.environ | log) as process:
        for line in process.stderr:
            try:
                fields = json.loads(line)["fields"]
            except ValueError:
                sys.stderr.buffer.write(line)
                continue
            with open(f"/proc/{process.pid}/stat") as stat:
                ticks = stat.read().rpartition(")")[2].split()
            now = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
            if fields.get("message") == "table":
                cpu[fields["table"]] = now - before
                before = now
    write(f"{folder}/cpu.json", cpu)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    tell("build: everything", time.time() - began, used.ru_utime + used.ru_stime, used.ru_maxrss)
    for table in read(path)["tables"]:
        if table["version"] is None:
            print(f"{table['name']}: {table['because']}")


def theirs(round, lake, out):
    told = read(f"{round}/ours.json")
    with open(os.path.join(os.environ["PROJECT"], "config/perennial.toml"), "rb") as file:
        brand = tomllib.load(file)["brand"]
    always = {f"brand_{name}": brand[name] for name in ("currency", "locale", "timezone")}
    always["as_of"] = datetime.datetime.fromisoformat(told["as_of"])
    began = time.time()
    db = connect(out, os.environ.get("MEMORY"))
    db.execute(MACROS)
    for table in made(told):
        if table["kind"] not in OF_SQL:
            folder = os.path.join(lake, table["name"])
            view(db, table["name"], live_files(folder, table["version"]), folder)
    took = {}
    for table in made(told, OF_SQL):
        name = table["name"]
        with open(f"benches/duckdb/{name}.sql") as file:
            sql = file.read()
        key, params = shipped(table)
        bound = {name: value for name, value in (always | params).items() if re.search(rf"\${name}\b", sql)}
        # As in our tables, every whole number is a bigint.
        columns = db.execute(f"describe {sql}", bound).fetchall()
        columns = ", ".join(f'cast("{c}" as bigint) as "{c}"' if "INT" in kind else f'"{c}"' for c, kind, *_ in columns)
        seconds, cpu = time.time(), time.process_time()
        db.execute(
            f"copy (select {columns} from ({sql}) order by {', '.join(key)}) to '{out}/{name}.parquet' "
            "(format parquet, compression zstd, compression_level 1, row_group_size 262144)",
            bound,
        )
        took[name] = time.time() - seconds, time.process_time() - cpu
        db.execute(f"create view {name} as select * from '{out}/{name}.parquet'")
    write(f"{round}/theirs.json", took)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tell(f"DuckDB {duckdb.__version__}: models, segments and metrics", time.time() - began, time.process_time(), peak)


def compare(round, lake, out):
    db = connect(out)
    tables, differing = made(read(f"{round}/ours.json"), OF_SQL), 0
    for table in tables:
        name = table["name"]
        folder = os.path.join(lake, name)
        view(db, "ours", live_files(folder, table["version"]), folder)
        db.execute(f"create or replace view theirs as select * from '{out}/{name}.parquet'")
        columns = [[(column, kind) for column, kind, *_ in db.execute(f"describe {side}").fetchall()] for side in ("ours", "theirs")]
        if columns[0] != columns[1]:
            print(f"{name}: columns differ: {sorted(set(columns[0]) ^ set(columns[1])) or 'in their order'}")
            differing += 1
            continue
        counts = [db.execute(f"select count(*) from {side}").fetchone()[0] for side in ("ours", "theirs")]
        less = "select count(*) from (from {} except all from {})"
        only = [db.execute(less.format(*sides)).fetchone()[0] for sides in (("ours", "theirs"), ("theirs", "ours"))]
        if any(only):
            print(f"{name}: {counts[0]} rows of ours, {counts[1]} of theirs; {only[0]} are ours alone, {only[1]} theirs alone")
            differing += 1
    print(f"{len(tables)} tables compared, {differing} differ")
    sys.exit(differing > 0)


def table(*rounds):
    builds, cpus, duck = ([read(f"{round}/{name}.json") for round in rounds] for name in ("ours", "cpu", "theirs"))
    tables = made(builds[0])
    wall = {t["name"]: min(u["seconds"] for build in builds for u in made(build) if u["name"] == t["name"]) for t in tables}
    cpu = {t["name"]: min(cpu[t["name"]] for cpu in cpus) for t in tables}
    row = "{:<32} {:>9} {:>8} {:>8} {:>6} {:>9} {:>9} {:>6}".format

    def line(what, rows, *took):
        ours, theirs, our_cpu, their_cpu = took
        ratios = ours / theirs, our_cpu / max(their_cpu, 0.001)
        print(row(what, rows, *(f"{value:.2f}" for value in (ours, theirs, ratios[0], our_cpu, their_cpu, ratios[1]))))

    print(row("file", "rows", "ours s", "DuckDB s", "ratio", "ours cpu", "their cpu", "ratio"))
    sums = {}
    for kind in OF_SQL:
        for t in (t for t in tables if t["kind"] == kind):
            name = t["name"]
            took = wall[name], min(d[name][0] for d in duck), cpu[name], min(d[name][1] for d in duck)
            line(f"{kind}s/{name}", t["rows"], *took)
            sums[kind] = tuple(map(sum, zip(sums.get(kind, (0,) * 4), took)))
    for kind, took in sums.items():
        line(f"all {kind}s", "", *took)
    line("all of these", "", *map(sum, zip(*sums.values())))
    others = [t["name"] for t in tables if t["kind"] not in OF_SQL]
    for name in [name for name in others if wall[name] >= 0.1] + ["what DuckDB is given"]:
        seconds = [sum(took[n] for n in others) if name not in others else took[name] for took in (wall, cpu)]
        print(row(name, "", f"{seconds[0]:.2f}", "", "", f"{seconds[1]:.2f}", "", ""))


{"ours": ours, "theirs": theirs, "compare": compare, "table": table}[sys.argv[1]](*sys.argv[2:])
