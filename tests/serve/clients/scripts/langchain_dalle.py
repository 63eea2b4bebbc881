"""LangChain's DallEAPIWrapper. Usage: langchain_dalle.py BASE_URL"""

import json
import sys

from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

base_url = sys.argv[1]
dalle = DallEAPIWrapper(model="dall-e-3", size="128x128", base_url=base_url, api_key="none")

print(json.dumps({"url": dalle.run("a snowy mountain at night")}))
