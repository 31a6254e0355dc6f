"""What the comparison keeps and refuses, with contestants of a line each; needs no package.

    python3 -m unittest discover --start-directory benches/peers
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from argparse import Namespace
from functools import partial
from pathlib import Path
from unittest import mock

import run


def script(text):
    return run.document(sys.executable, "-c", text)


class Documents(unittest.TestCase):
    def test_libraries_may_print_around_the_object(self):
        self.assertEqual(script(r"print('{2 trials}\nloading: {}\n{\"a\": {\n \"b\": 1\n}}\nbye')"), {"a": {"b": 1}})

    def test_a_failure_shows_the_command_its_status_and_its_last_lines(self):
        with self.assertRaisesRegex(SystemExit, r"(?s)exit.*failed with status 3.*\n  half way\n  no memory$"):
            script("import sys; print('half way'); print('no memory', file=sys.stderr); sys.exit(3)")

    def test_output_without_an_object_is_shown(self):
        for text in ("12 epochs", '{"rate": 1', "", '[{"rate": 1}]'):
            with self.assertRaises(SystemExit) as exit:
                script(f"print({text!r}, end='')")
            said = "\n  ".join(["printed no JSON object; its last lines:", *filter(None, [text])])
            self.assertTrue(exit.exception.code.endswith(said), exit.exception.code)


class Rounds(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "folder" / "record.json"

    def measure(self, calls, interrupt=None):
        """Three rounds of a and b into the record; the order of the calls is appended."""
        def contestant(who, seed):
            if len(calls) == interrupt:
                raise KeyboardInterrupt
            calls.append((who, seed))
            return {"rate": len(calls)}

        record = run.begin(self.file, ["work"], "abc")
        record["commits"]["work"] = "abc"
        results, times = record["works"].setdefault("work", {}), record["times"].setdefault("work", [])
        both = {who: partial(contestant, who) for who in "ab"}
        with contextlib.redirect_stderr(io.StringIO()):
            run.in_turn(Namespace(rounds=3), both, results, times, partial(run.keep, record, self.file))

    def rates(self):
        work = json.loads(self.file.read_text())["works"]["work"]
        return {who: [result["rate"] for result in results] for who, results in work.items()}

    def test_contestants_take_turns(self):
        calls = []
        self.measure(calls)
        self.assertEqual(calls, [(who, seed) for seed in range(3) for who in "ab"])
        self.assertEqual(self.rates(), {"a": [1, 3, 5], "b": [2, 4, 6]})

    def test_an_interruption_loses_nothing_and_whole_rounds_go_on(self):
        calls = []
        with self.assertRaises(KeyboardInterrupt):
            self.measure(calls, interrupt=3)
        self.assertEqual(self.rates(), {"a": [1, 3], "b": [2]})
        self.measure(calls)
        self.assertEqual(calls[3:], [("a", 1), ("b", 1), ("a", 2), ("b", 2)])
        self.assertEqual(self.rates(), {"a": [1, 4, 6], "b": [2, 5, 7]})
        self.assertEqual(len(json.loads(self.file.read_text())["times"]["work"]), 3)
        self.measure(calls)
        self.assertEqual(len(calls), 7)

    def test_a_record_belongs_to_one_machine_and_one_set_of_packages(self):
        self.measure([])
        before = self.file.read_text()
        for part in ("machine", "versions"):
            with mock.patch.object(run, part, lambda: {"is": "another"}):
                said = rf"(?s)different '{part}'; .*--record.*there: .*here:  .*another"
                with self.assertRaisesRegex(SystemExit, said):
                    run.begin(self.file, ["new"], "abc")
        with mock.patch.object(run, "machine", lambda: {"cpu": "a newer one"}):
            with self.assertRaisesRegex(SystemExit, rf"(?s)\"cores\": {run.CORES}.*a newer one"):
                run.begin(self.file, ["new"], "abc")
        self.assertEqual(self.file.read_text(), before)

    def test_a_work_in_a_record_belongs_to_one_commit(self):
        self.measure([])
        with self.assertRaisesRegex(SystemExit, "work of commit abc, and this is def"):
            run.begin(self.file, ["work"], "def")
        self.assertIn("work", run.begin(self.file, ["new"], "def")["works"])

    def test_a_work_of_a_changed_tree_does_not_go_on(self):
        self.measure([])
        record = json.loads(self.file.read_text())
        record["commits"]["work"] = "abc-dirty"
        self.file.write_text(json.dumps(record))
        with self.assertRaisesRegex(SystemExit, "work of abc-dirty, a tree that nobody can name"):
            run.begin(self.file, ["work"], "abc-dirty")

    def test_a_file_that_is_no_record_stays(self):
        self.file.parent.mkdir()
        for text in ("notes", "[1]", '"notes"', "3"):
            self.file.write_text(text)
            with self.assertRaisesRegex(SystemExit, "record.json is no record.*--record"):
                run.begin(self.file, ["work"], "abc")
            self.assertEqual(self.file.read_text(), text)


class Arguments(unittest.TestCase):
    def refused(self, *words):
        said = io.StringIO()
        with mock.patch.object(sys, "argv", ["run.py", *words]), contextlib.redirect_stderr(said):
            with self.assertRaises(SystemExit):
                run.arguments()
        return said.getvalue()

    def test_wrong_ones_are_named(self):
        with tempfile.TemporaryDirectory() as data:
            self.assertIn("'0' is no number from 1 on", self.refused("--data", data, "--rounds", "0"))
            self.assertIn("unknown: mnist (known: products,", self.refused("--data", data, "--works", "mnist"))
            self.assertIn("lacks mnist/train-images-idx3", self.refused("--data", data, "--works", "keras-tuner"))
            self.assertIn("lacks covertype.csv.gz", self.refused("--data", data, "--works", "covertype-256-256"))
            with mock.patch.object(run, "SMALL", True):
                self.assertIn("leave --record away",
                              self.refused("--data", data, "--works", "products", "--record", "x.json"))

    def test_a_record_that_cannot_be_written_is_refused_at_once(self):
        with tempfile.TemporaryDirectory() as data:
            note = Path(data) / "note"
            note.write_text("mine")
            for place in (note / "record.json", note / "folder" / "record.json", Path(data)):
                said = self.refused("--data", data, "--works", "products", "--record", str(place))
                self.assertRegex(said, f"--record {place} cannot be written: .*; name a file in a folder of yours")
            for place in (note, Path(data) / "folder" / "record.json"):
                with mock.patch.object(sys, "argv", ["run.py", "--data", data, "--works", "products",
                                                     "--record", str(place)]):
                    self.assertEqual(run.arguments().record, place)
                self.assertEqual(list(place.parent.glob("*.part")), [])
            self.assertEqual(note.read_text(), "mine")


class Environment(unittest.TestCase):
    def test_flags_are_off_when_they_are_empty_or_0(self):
        for value, small in (("", "False"), ("0", "False"), ("1", "True"), (None, "False")):
            environment = {key: text for key, text in os.environ.items() if key != "HPT_PEERS_SMALL"}
            environment |= {} if value is None else {"HPT_PEERS_SMALL": value}
            ran = subprocess.run([sys.executable, "-c", "import run; print(run.SMALL)"], cwd=run.HERE, env=environment,
                                 stdout=subprocess.PIPE, text=True, check=True)
            self.assertEqual(ran.stdout.strip(), small, value)

    def test_the_packages_are_there_where_the_flag_says_so(self):
        for value, here in (("1", True), ("0", False), ("", False)):
            with mock.patch.dict(os.environ, {"HPT_PEERS_HERE": value}), mock.patch.object(sys, "prefix", "/usr"):
                self.assertEqual(run.has_packages(), here, value)

    def test_in_small_few_products_are_measured(self):
        asked = []

        def document(*command):
            asked.append(command)
            return {"products": [], "lower": []}

        for small in (False, True):
            with mock.patch.multiple(run, SMALL=small, document=document):
                run.compare_products(Namespace(rounds=1, precisions=["highest"]), "python", "hpt-engine", {}, [],
                                     lambda: None)
        self.assertEqual([command[1:3] for command in asked if command[0] == "hpt-engine"],
                         [("bench", "forward"), ("bench", "forward 32×")])

    def test_versions_are_those_of_packages_by_whatever_spelling(self):
        with tempfile.TemporaryDirectory() as folder:
            info = Path(folder) / "Keras_Tuner-1.2.3.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Keras_Tuner\nVersion: 1.2.3\n")
            with mock.patch.object(sys, "path", [folder]):
                self.assertEqual(run.versions(), ["keras-tuner==1.2.3"])


if __name__ == "__main__":
    unittest.main()
