import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "COST_MODEL.md").read_text()


def test_the_worked_example_prints_what_the_page_shows(capsys):
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert code
    assert shown
    exec(compile(code.group(1), "docs/COST_MODEL.md", "exec"), {})
    assert capsys.readouterr().out == shown.group(1)
