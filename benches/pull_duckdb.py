"""A table of PostgreSQL into Parquet by DuckDB's extension. Usage: pull_duckdb.py URL FILE; `pip install duckdb==V
duckdb-extension-postgres-scanner==V` first."""
import glob, os, sys
import duckdb, duckdb_extension_postgres_scanner

folder = os.path.dirname(duckdb_extension_postgres_scanner.__file__)
extension = glob.glob(folder + "/**/*.duckdb_extension*", recursive=True)[0]
c = duckdb.connect(config={"allow_unsigned_extensions": "true"})
c.execute(f"load '{extension}'")
c.execute(f"attach '{sys.argv[1]}' as shop (type postgres, read_only)")
c.execute(f"copy (select * from shop.public.orders) to '{sys.argv[2]}' (format parquet, compression zstd)")
