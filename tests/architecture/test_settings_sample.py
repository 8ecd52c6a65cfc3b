""".env.sample names every setting there is, and none that is not."""

import re

from kopitra.settings import Settings
from tests.architecture.house import ROOT


def test_the_sample_and_the_settings_agree() -> None:
    sample = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.sample").read_text(), re.MULTILINE))

    assert sample == {
        str(field.validation_alias or f"KOPITRA_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
