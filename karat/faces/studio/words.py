"""What the studio says, in English and in Chinese. The English text stands where it is used and names the Chinese one."""

from karat.faces.studio.chinese import CHINESE


def said(text: str, *, chinese: bool, **values: object) -> str:
    """Give a text in a person's language, with values in its places. What has no Chinese yet stays English."""
    told = CHINESE.get(text, text) if chinese else text
    return told.format(**values) if values else told
