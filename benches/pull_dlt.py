"""dlt's REST source into Parquet files. Usage: pull_dlt.py URL ORDERS; `pip install 'dlt[parquet]'` first."""
import sys, tempfile
import dlt
from dlt.sources.rest_api import rest_api_source

url, total = sys.argv[1], int(sys.argv[2])
pages = {"type": "page_number", "base_page": 0, "page_param": "page", "total_path": None, "stop_after_empty_page": False,
         "maximum_page": -(-total // 250)}
source = rest_api_source({
    "client": {"base_url": url, "paginator": pages},
    "resources": [{"name": "orders", "primary_key": "id", "endpoint": {"path": "orders", "data_selector": "orders"}}]})
out = tempfile.mkdtemp()
to = dlt.destinations.filesystem(bucket_url=f"file://{out}")
dlt.pipeline("orders", destination=to, dataset_name="d", pipelines_dir=out + "-state").run(source, loader_file_format="parquet")
