"""Models of the Hugging Face hub by their names: which files, fetched, verified, and where they lie.

`fetch` brings a `HubReference` into huggingface_hub's own cache and gives the folder of its snapshot.
Names, addresses, tokens, the cache's place and layout are huggingface_hub's (``HF_HOME``,
``HF_HUB_CACHE``, ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``); the bodies of files are received
here, because version 2.4 neither goes on with a file after its process died nor looks at what it
received (its issues 4196 and 3643). Importing this loads neither huggingface_hub nor httpx2: the first
reads the environment when it is imported.
"""

from engines.hub.fetching import FetchedModel, fetch
from engines.hub.progress import DownloadProgress
from engines.hub.reference import HubReference

__all__ = ["DownloadProgress", "FetchedModel", "HubReference", "fetch"]
