"""`karat explain`."""

from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of

EPILOG = """karat explain tales:live --prompt "The red fox" -o explain.html

karat explain helper:live --prompt "Which colour has a fox?" --answer "Red." -o explain.json"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(explain)


def explain(
    context: typer.Context,
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="A release that writes texts: an alias, an id, `latest`, or a .karat file.")
    ],
    prompt: Annotated[str, typer.Option(help="What was asked, or how the text begins.")],
    answer: Annotated[str | None, typer.Option(help="What was answered; the model's likeliest answer if not given.")] = None,
    system: Annotated[str, typer.Option(help="What the system said before.")] = "",
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page to write; JSON where it ends in .json.")] = Path(
        "explain.html"
    ),
) -> None:
    """Show which parts of a prompt moved the answer, how sure the model was of each token, and which training texts are most like it."""
    from karat.app.explaining import Question, explain_release
    from karat.faces.cli.telling import follow

    face = face_of(context)
    question = Question.from_values({"prompt": prompt, "answer": answer, "system": system})
    follow(explain_release(face.store(), release, question, out), face.teller())
