"""What users wrote is text, whatever the document."""

import html

import pytest
from bert_glue.report import render


@pytest.mark.parametrize("label", ["<b>&", "cwgnc:max_norm=1e-5", "'\"><script>"])
def test_labels_break_after_settings_only(label):
    shown = str(render.breakable(label))
    assert "<wbr>" not in shown.replace(":<wbr>", "")
    assert "<" not in shown.replace("<wbr>", "")
    # Word joiners, which keep a number whole, have no width.
    assert html.unescape(shown).replace("<wbr>", "").replace("\u2060", "") == label


def test_marks_of_markdown_and_latex():
    assert render.markdown("a_b|c*") == r"a\_b\|c\*"
    assert render.latex(r"5% of {a_b} \ ~^&$#") == (
        r"5\% of \{a\_b\} \textbackslash{} "
        r"\textasciitilde{}\textasciicircum{}\&\$\#"
    )
