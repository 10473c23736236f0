"""What the READMEs name exists: links and their headings, files, flags; the first stays short."""

import functools
import inspect
import re
import shlex
from pathlib import Path

import benchmark
import draw_house
import Evaluate
import Final_implementation
import make_pictures
import make_samples
import Pick_fields
import Pixel_size_train
import pytest
import Score_train
import SRGAN_copy_set
import SRGAN_evaluate
import SRGAN_train
import Stitch_fields
import tyro
import Unet_evaluate
import Unet_train
import Workflow_figure

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("Implementation", "training", "data", "models")
README = ROOT / "README.md"
DOCUMENTS = [README, *(ROOT / folder / "README.md" for folder in FOLDERS)]
SCRIPTS = (
    *(
        Workflow_figure,
        draw_house,
        make_pictures,
        benchmark,
        Evaluate,
        Final_implementation,
        Pick_fields,
        Stitch_fields,
        make_samples,
    ),
    *(
        Pixel_size_train,
        Score_train,
        SRGAN_copy_set,
        SRGAN_evaluate,
        SRGAN_train,
        Unet_evaluate,
        Unet_train,
    ),
)
FLAGS_OF_OTHERS = {"--help", "--memory-limit", "--nthreads"}  # of tyro and Dask
WRITTEN = {  # by a run, a training or a user
    *("report.html", "my_fields/README.html"),
    *("generator_adversarial.h5", "Unet_best.h5", "my_unet/Unet.h5"),
}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=("top", *FOLDERS))


def headings(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_document
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        path, _, heading = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not heading or heading in headings(target), link


@each_document
def test_named_scripts_and_models_exist(document):
    paths = (path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.*"))
    files = [f"/{path.relative_to(ROOT).as_posix()}" for path in paths]
    text = document.read_text("utf-8").replace("](../", "](")
    for name in set(re.findall(r"(?<![\w./-])[\w-][\w./-]*\.(?:py|html|h5)\b", text)) - WRITTEN:
        assert any(path.endswith(f"/{name}") for path in files), name


@each_document
def test_named_flags_exist(document):
    known = {
        f"--{prefix}{name.replace('_', '-')}"
        for script in SCRIPTS
        for name in inspect.signature(script.main).parameters
        for prefix in ("", "no-")
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", document.read_text("utf-8")))
    assert named <= known | FLAGS_OF_OTHERS


def commands(text: str) -> list[list[str]]:
    """Return the words of each command in a document's blocks that starts a script with flags."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").replace("\\", "/").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("python ")]
    return [line for line in words if line[1].endswith(".py")]


def parsed(script, flags: list[str]):
    """Let the command line of a script understand flags, without doing what they say."""

    @functools.wraps(script.main)
    def nothing(*_, **__):
        return True

    return tyro.cli(nothing, args=flags)


@each_document
def test_commands_are_understood(document):
    scripts = {Path(script.__file__).resolve(): script for script in SCRIPTS}
    for _, path, *flags in commands(document.read_text("utf-8")):
        assert parsed(scripts[ROOT / path], flags), flags  # tyro itself names what is wrong


def test_wrong_commands_would_be_noticed():
    text = '```\npython "training/U-net/Unet_train.py" --crop \\\n    64 # a remark\n```'
    assert commands(text) == [["python", "training/U-net/Unet_train.py", "--crop", "64"]]
    assert parsed(Unet_train, ["--crop", "64", "--freeze-encoder"])
    for wrong in (["--crop", "x"], ["--crop"], ["--freeze-encoder", "True"], ["--none"]):
        with pytest.raises(SystemExit):
            parsed(Unet_train, wrong)


def test_what_to_change_is_where_the_table_says():
    text = (ROOT / "Implementation" / "README.md").read_text("utf-8").partition("## Change some")[2]
    places = re.findall(r"`([\w./-]+\.py)` \(((?:`\w+`(?: and |, )?)+)", text)
    assert len(places) >= 10
    for path, names in places:
        folder = ROOT if path.startswith("training") else ROOT / "Implementation"
        source = (folder / path).read_text("utf-8")
        for name in names.split("`")[1::2]:
            assert re.search(rf"^(def |class )?{name}\b", source, re.MULTILINE), f"{path}: {name}"
    for test in re.findall(r"tests/[\w/.]+", text):
        assert (ROOT / test).exists(), test


def test_the_first_document_is_short():
    assert len(README.read_text("utf-8").splitlines()) <= 180
