"""The HTTP API against its own contract: schemathesis sends what fits and what does not, and looks at every answer."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
BINARY = os.environ.get("GATEWAY_BIN", str(REPOSITORY / "target/release/gateway"))
# A short run with a fixed seed, the same each time; `make fuzz-api` goes on for as long as it is told, with another one.
SECONDS = os.environ.get("FUZZ_SECONDS")
SHORT = ["--seed", "1", "--max-examples", "25"]


class Node:
    """A node in memory, with a key that may do everything."""

    def __init__(self, folder):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        command = [BINARY, "key", "--name", "contract", "--scope", "publish,read,notify,moderate,jobs,control,admin"]
        made = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        self.key = next(word for word in made.split() if word.startswith("gw_"))
        config = Path(folder) / "gateway.toml"
        config.write_text(made)
        environment |= {
            "GATEWAY_LISTEN": "127.0.0.1:0",
            "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
            "GATEWAY_DATA_DIR": "",
            "GATEWAY_TELEMETRY__FORMAT": "json",
            # It is asked as fast as it answers, also without a key.
            "GATEWAY_API__REQUESTS_PER_SECOND": "0",
            "GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS": "0",
        }
        self.log = open(Path(folder) / "log", "w+b")
        self.process = subprocess.Popen([BINARY, "--config", config], env=environment, stderr=subprocess.PIPE)
        for line in self.process.stderr:
            self.log.write(line)
            said = json.loads(line)
            if said["fields"].get("message") == "ready":
                self.url = f"http://{said['fields']['address']}"
                break
        else:
            raise RuntimeError("the node did not start")
        # Somebody has to read on, or the node would wait for it.
        self.reader = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self.log)

    def stop(self):
        self.process.terminate()
        code = self.process.wait(40)
        self.process.stderr.close()
        self.reader.wait(10)
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")
        self.log.close()
        return code, text


class Contract(unittest.TestCase):
    def test_every_request_is_answered_as_the_contract_says(self):
        with tempfile.TemporaryDirectory() as folder:
            node = Node(folder)
            command = [Path(sys.executable).parent / "st", "--config-file", HERE / "schemathesis.toml", "run"]
            command += [f"{node.url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {node.key}", "--no-color"]
            # A stream has no end that one could wait for; the tests in Rust look at it.
            command += ["--exclude-path-regex", "/stream$"]
            command += ["--max-time", SECONDS] if SECONDS else SHORT
            run = subprocess.run(command, cwd=folder, stdout=None if SECONDS else subprocess.PIPE, text=True)
            code, log = node.stop()
            self.assertEqual(run.returncode, 0, run.stdout)
            self.assertEqual(code, 0)
            self.assertNotIn("panicked", log)


if __name__ == "__main__":
    unittest.main()
