"""The files that the cases of a spec read."""

import json
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.controller.every_field.spec_cases import MAIL

write_xlsx = runpy.run_path(str(Path(__file__).parents[1] / "data/readers/test_excel.py"))[
    "write_xlsx"
]


def write_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table faq (q text, a text)")
        values = [(f"q{n}", f"a{n}") for n in range(40)]
        database.executemany("insert into faq values (?, ?)", values)
        database.commit()


def write_tables(repo) -> None:
    rows = "q,a,s,b,n,g\n" + "".join(
        f"<b>q{n}</b>  {MAIL if n == 7 else ''},answer number {n},s{n},b{n},{n},{n % 5}\n"
        for n in range(40)
    )
    repo.write("finetunes/data/rows.csv", rows + "same,same,s,b,1,1\n" * 3)
    repo.write("finetunes/data/quoted.csv", rows.replace("answer number", '"answer"'))
    objects = "".join(f'q{n},"{{""a"": {n}}}"\n' for n in range(40))
    repo.write("finetunes/data/json.csv", f"q,a\n{objects}")
    marked = "".join(f"q{n},a{n},{n % 2}\n" for n in range(40))
    repo.write("finetunes/data/marked.csv", f"q,a,up\n{marked}")
    repo.write("finetunes/data/one.json", '{"type": "object"}')
    repo.write("finetunes/data/two.json", '{"type": "array"}')
    for name in ("one", "two"):
        text = f"defaultTest: {{assert: [{{type: equals, value: {name}}}]}}"
        repo.write(f"finetunes/data/{name}.yaml", text)
    repo.write("finetunes/data/late.csv", f"q,a,s,b,n,g\n{rows}")
    repo.write("finetunes/data/more.csv", rows.replace("<b>q", "other q"))
    repo.write("finetunes/data/empty.csv", f"{rows},,s,b,1,1\n")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        repo.write(f"models/tiny/{name}", "{}")


def write_other_forms(repo) -> None:
    lines = (
        {"prompt": f"p{n}", "completion": f"c{n}", "instruction": f"i{n}", "output": "o"}
        for n in range(40)
    )
    repo.write("finetunes/data/rows.jsonl", "".join(json.dumps(one) + "\n" for one in lines))
    chats = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(40)
    ]
    extra = (json.dumps({**chat, "label": n % 2 == 0}) for n, chat in enumerate(chats))
    repo.write("finetunes/data/extra.jsonl", "\n".join(extra))
    repo.write("finetunes/data/rows.json", json.dumps({"rows": chats, "others": chats[:1]}))
    cells = "".join(f"<tr><td>q{n}</td><td>a{n}</td></tr>" for n in range(40))
    table = f"<table><tr><th>q</th><th>a</th></tr>{cells}</table>"
    repo.write("finetunes/data/table.html", f"<html><body>{table}</body></html>")
    repo.write("finetunes/data/prose.txt", "\n\n".join(f"One {n}.\nTwo {n}." for n in range(40)))
    sheets = {
        name: [["q", "a"], *([f"q{n}", f"a{n}"] for n in range(start, start + 40))]
        for name, start in (("first", 0), ("second", 100))
    }
    write_xlsx(repo.root / "finetunes/data/book.xlsx", sheets)
