"""The build's check: serves the service on a free port and asks it, over real HTTP, which revision it is."""

from __future__ import annotations

import json
import threading
import unittest
import urllib.error
import urllib.request

import server


class Answers(unittest.TestCase):
    def setUp(self) -> None:
        self.service = server.make()
        self.addCleanup(self.service.server_close)
        thread = threading.Thread(target=self.service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.service.shutdown)
        self.url = f"http://127.0.0.1:{self.service.server_address[1]}"

    def test_it_says_its_revision(self) -> None:
        for path in ("/", "/version"):
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                self.assertEqual(json.load(answer)["revision"], server.revision())

    def test_it_knows_no_other_path(self) -> None:
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(self.url + "/secret", timeout=10)
        self.assertEqual(caught.exception.code, 404)
        caught.exception.close()


if __name__ == "__main__":
    unittest.main()
