"""Crawls the sites that the events of an event hub name, and stores what it finds as one blob for each site.

It is one of up to five consumers of a group: they share the partitions out among themselves, and each says with a
checkpoint how far it has come. Those checkpoints are what the ScaledObject counts by.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections import deque
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin
from urllib.request import Request, urlopen

from azure.eventhub import EventHubConsumerClient, LoadBalancingStrategy
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.storage.blob import ContainerClient

MOST_PAGES = 50
MOST_BYTES = 1_000_000


class Page(HTMLParser):
    """The title and the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.links: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.links.append(href)

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


def fetch(url: str) -> Page:
    request = Request(url, headers={"User-Agent": "eventide-example-crawler"})
    with urlopen(request, timeout=10) as answer:
        page = Page()
        page.feed(answer.read(MOST_BYTES).decode("utf-8", "replace"))
        return page


def crawl(start: str) -> dict[str, dict[str, str]]:
    """Every page that can be reached from the start without leaving its folder, by address."""
    home = urljoin(start, ".")
    found: dict[str, dict[str, str]] = {}
    seen, waiting = {start}, deque([start])
    while waiting and len(found) < MOST_PAGES:
        url = waiting.popleft()
        try:
            page = fetch(url)
        except OSError as error:
            found[url] = {"error": str(error)}
            continue
        found[url] = {"title": page.title}
        for link in page.links:
            target = urldefrag(urljoin(url, link)).url
            if target.startswith(home) and target not in seen:
                seen.add(target)
                waiting.append(target)
    return found


def wanted(event) -> bool:
    """The same choice as the ScaledObject's filter: what is not counted must not be worked on."""
    return event.properties.get(b"kind", b"site") == b"site"


class ForwardCheckpoints(BlobCheckpointStore):
    """Lets nobody go back: who has just lost a partition may still be finishing an event that the next one has done."""

    def update_checkpoint(self, checkpoint, **options) -> None:
        place = (checkpoint[key] for key in ("fully_qualified_namespace", "eventhub_name", "consumer_group"))
        for known in self.list_checkpoints(*place):
            if known["partition_id"] != checkpoint["partition_id"]:
                continue
            if int(known["sequence_number"]) >= int(checkpoint["sequence_number"]):
                return
        super().update_checkpoint(checkpoint, **options)


class Crawler:
    def __init__(self) -> None:
        storage = os.environ["STORAGE_CONNECTION"]
        hub = os.environ["HUB_NAME"]
        self._pages = ContainerClient.from_connection_string(storage, "pages")
        self._client = EventHubConsumerClient.from_connection_string(
            os.environ["HUB_CONNECTION"],
            consumer_group=os.environ.get("HUB_GROUP", "$Default"),
            eventhub_name=hub,
            checkpoint_store=ForwardCheckpoints.from_connection_string(storage, "checkpoints"),
            load_balancing_strategy=LoadBalancingStrategy.GREEDY,
            # A crawler that has just been started is to get its share soon.
            load_balancing_interval=2,
            partition_ownership_expiration_interval=10,
        )
        self._stopping = threading.Event()

    def on_event(self, partition, event) -> None:
        # What is not finished stays behind the checkpoint, for whoever gets the partition next.
        if self._stopping.is_set():
            return
        if wanted(event):
            self.work(event.body_as_json()["site"])
        partition.update_checkpoint(event)

    def work(self, site: str) -> None:
        pages = crawl(site)
        name = site.split("//", 1)[-1].strip("/").split("/", 1)[-1].replace("/", "-")
        self._pages.upload_blob(f"{name}.json", json.dumps(pages, indent=1), overwrite=True)
        print(f"{site}: {len(pages)} pages", flush=True)

    def stop(self, *_) -> None:
        self._stopping.set()
        # Closing waits for the event that is worked on, and lets go of the partitions.
        threading.Thread(target=self._client.close).start()

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        print("ready", flush=True)
        with self._client:
            self._client.receive(self.on_event, starting_position="-1")
        print("stopped", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "ERROR"), stream=sys.stderr)
    Crawler().run()
