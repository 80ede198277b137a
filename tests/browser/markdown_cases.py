"""Markdown and what is to be seen of it, and texts that would like to be more than text.

What is to be seen is written as an outline: elements and texts, `▮` for the caret of a growing text.
"""

SHOWN: list[tuple[str, str]] = [
    ("", ""),
    ("Hello", "<p>Hello</p>"),
    ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
    ("one  \ntwo\\\nthree<br>four", "<p>one<br></br>two<br></br>three<br></br>four</p>"),
    ("# A\n## B\n### C\n#### D\n###### F", "<h3>A</h3><h4>B</h4><h5>C</h5><h6>D</h6><h6>F</h6>"),
    ("# Title #\n#hashtag\n####### seven", "<h3>Title</h3><p>#hashtag\n####### seven</p>"),
    ("# C#", "<h3>C#</h3>"),
    ("text\n---\nmore", "<p>text</p><hr></hr><p>more</p>"),
    ("***\n- - -\n___", "<hr></hr><hr></hr><hr></hr>"),
    # emphasis
    ("*a* **b** ***c***", "<p><em>a</em> <strong>b</strong> <em><strong>c</strong></em></p>"),
    ("_a_ __b__ snake_case_name", "<p><em>a</em> <strong>b</strong> snake_case_name</p>"),
    ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
    ("*a **b** c*", "<p><em>a <strong>b</strong> c</em></p>"),
    ("2 * 3 * 4 and ** alone", "<p>2 * 3 * 4 and ** alone</p>"),
    ("**open and *never* closed", "<p>**open and <em>never</em> closed</p>"),
    ("~~gone~~ but ~this~", "<p><del>gone</del> but ~this~</p>"),
    ("**R**ealistic", "<p><strong>R</strong>ealistic</p>"),
    ("**“quoted”** text", "<p><strong>“quoted”</strong> text</p>"),
    ("**🎉** *👩‍🚀*", "<p><strong>🎉</strong> <em>👩‍🚀</em></p>"),
    (r"\*not\* \# \_ \\ \a", "<p>*not* # _ \\ \\a</p>"),
    # code
    ("`a*b*` ``x`y`` `` ` ``", "<p><code>a*b*</code> <code>x`y</code> <code>`</code></p>"),
    ("`open", "<p>`open</p>"),
    ("```python\nif a:\n\tb  # *c*\n\n```\nafter", "<code python>if a:\n\tb  # *c*\n</code><p>after</p>"),
    ("~~~\n```\n~~~", "<code >```</code>"),
    ("```js\nnever closed", "<code js>never closed</code>"),
    ("````\n```\n````", "<code >```</code>"),
    ("inline ```not a fence``` here", "<p>inline <code>not a fence</code> here</p>"),
    # lists
    ("- a\n- b\n\n\ntext", "<ul><li><p>a</p></li><li><p>b</p></li></ul><p>text</p>"),
    ("- a\n\n- b", "<ul loose><li><p>a</p></li><li><p>b</p></li></ul>"),
    ("3. a\n4. b", "<ol start=3><li><p>a</p></li><li><p>b</p></li></ol>"),
    ("1. a\n2) b", "<ol><li><p>a</p></li></ol><ol start=2><li><p>b</p></li></ol>"),
    ("- a\n  - b\n    - c\n- d",
     "<ul><li><p>a</p><ul><li><p>b</p><ul><li><p>c</p></li></ul></li></ul></li><li><p>d</p></li></ul>"),
    # models nest by two spaces under a number, too
    ("1. a\n  - b\n2. c", "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>"),
    ("- a\ngoes on\n  and on", "<ul><li><p>a\ngoes on\nand on</p></li></ul>"),
    ("1. a\n\n   more of a\n\n2. b",
     "<ol loose><li><p>a</p><p>more of a</p></li><li><p>b</p></li></ol>"),
    ("1. do\n   ```sh\n   ls\n   ```\n2. done",
     "<ol><li><p>do</p><code sh>ls</code></li><li><p>done</p></li></ol>"),
    ("1. do\n```sh\nls\n```\n2. done",
     "<ol><li><p>do</p></li></ol><code sh>ls</code><ol start=2><li><p>done</p></li></ol>"),
    ("- do\n  ```\n  a\nb\n```\n- next", "<ul><li><p>do</p><code >a\nb</code></li><li><p>next</p></li></ul>"),
    ("- [ ] open\n- [x] done",
     "<ul><li><input></input><p>open</p></li><li><input checked=></input><p>done</p></li></ul>"),
    ("text\n- a\ntext\n1. b", "<p>text</p><ul><li><p>a\ntext</p></li></ul><ol><li><p>b</p></li></ol>"),
    ("in\n1986. A year", "<p>in\n1986. A year</p>"),
    ("* a\n+ b", "<ul><li><p>a</p></li></ul><ul><li><p>b</p></li></ul>"),
    ("-\n- b", "<ul><li></li><li><p>b</p></li></ul>"),
    # quotes
    ("> a\n> b\nlazy\n\nc", "<blockquote><p>a\nb\nlazy</p></blockquote><p>c</p>"),
    ("> - a\n>   - b\n>\n> c", "<blockquote><ul><li><p>a</p><ul><li><p>b</p></li></ul></li></ul><p>c</p></blockquote>"),
    (">> deep", "<blockquote><blockquote><p>deep</p></blockquote></blockquote>"),
    # tables
    ("| a | b |\n|:-:|--:|\n| 1 | **2** |\n| 3 |\n\nend",
     ("<table><thead><tr><th class=center>a</th><th class=end>b</th></tr></thead><tbody>"
     "<tr><td class=center>1</td><td class=end><strong>2</strong></td></tr>"
     "<tr><td class=center>3</td><td class=end></td></tr></tbody></table><p>end</p>")),
    ("Look:\na | b\n--|--\nx \\| y | z",
     ("<p>Look:</p><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>"
     "<tr><td>x | y</td><td>z</td></tr></tbody></table>")),
    ("a | b\nno table", "<p>a | b\nno table</p>"),
    # links
    ('[a **b**](https://x.example/y?z=1&w=2 "title")', "<p><a href=https://x.example/y?z=1&w=2>a <strong>b</strong></a></p>"),
    ("[w](https://en.wikipedia.org/wiki/A_(b))", "<p><a href=https://en.wikipedia.org/wiki/A_(b)>w</a></p>"),
    ("see https://x.example/a_b, (http://y.example).",
     "<p>see <a href=https://x.example/a_b>https://x.example/a_b</a>, (<a href=http://y.example/>http://y.example</a>).</p>"),
    ("<https://x.example>", "<p><a href=https://x.example/>https://x.example</a></p>"),
    ("[https://x.example](https://x.example)", "<p><a href=https://x.example/>https://x.example</a></p>"),
    ("![a cat](https://x.example/cat.png)", "<p><a href=https://x.example/cat.png>a cat</a></p>"),
    ("[relative](/admin) [gone]", "<p><span>relative</span> [gone]</p>"),
    # no markup but Markdown
    ("<b>bold</b> <!-- c --> &lt; &amp; &#128640; &unknown;", "<p><b>bold</b> <!-- c --> < & 🚀 &unknown;</p>"),
]  # fmt: skip

LIVE: list[tuple[str, str]] = [
    ("", "<p>▮</p>"),
    ("Hello", "<p>Hello▮</p>"),
    # what is open is shown as it will be, and what is half a mark not at all
    ("so **bo", "<p>so <strong>bo</strong>▮</p>"),
    ("so **", "<p>so ▮</p>"),
    ("so `co", "<p>so <code>co</code>▮</p>"),
    ("see [the lab", "<p>see [the lab▮</p>"),
    ("see [the label](https://x.exa", "<p>see <span>the label</span>▮</p>"),
    ("a *b **c", "<p>a <em>b <strong>c</strong></em>▮</p>"),
    ("**open\n\nnext", "<p>**open</p><p>next▮</p>"),
    ("- a\n- b", "<ul><li><p>a</p></li><li><p>b▮</p></li></ul>"),
    ("- a\n- ", "<ul><li><p>a</p></li><li>▮</li></ul>"),
    ("> quote", "<blockquote><p>quote▮</p></blockquote>"),
    ("```js\nlet a", "<code js>let a▮</code>"),
    ("| a | b", "<table><thead><tr><th>a</th><th>b▮</th></tr></thead><tbody></tbody></table>"),
    ("| a | b |\n|--", "<table><thead><tr><th>a</th><th>b▮</th></tr></thead><tbody></tbody></table>"),
    (
        "| a | b |\n|--|--|\n| **x",
        (
            "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>"
            "<tr><td><strong>x</strong>▮</td><td></td></tr></tbody></table>"
        ),
    ),
]

# each would do something where text becomes markup, or an address is followed unread
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg/onload=window.hacked=1>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<style>*{background:url(https://evil.example/a)}</style>",
    "<a href='javascript:window.hacked=1'>x</a>",
    "<math><mtext></table></math><img src onerror=window.hacked=1>",
    "[x](javascript:window.hacked=1)",
    "[x](JaVaScRiPt:window.hacked=1)",
    "[x](java\tscript:window.hacked=1)",
    "[x](<java\tscript:window.hacked=1>)",
    "[x](javascript&colon;window.hacked=1)",
    "[x](&#106;avascript:window.hacked=1)",
    "[x]( javascript:window.hacked=1)",
    "[x](\x01javascript:window.hacked=1)",
    "[x](data:text/html,<script>window.hacked=1</script>)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://x.example/1)",
    "[x](//evil.example)",
    "[x](https:evil)",
    '[x](https://x.example/" onmouseover="window.hacked=1)',
    "[x](https://x.example/'><img src=x onerror=window.hacked=1>)",
    "[x](https://x.example \"t' onload='window.hacked=1\")",
    "![x](https://evil.example/pixel.png)",
    "![x](javascript:window.hacked=1)",
    '![x"onerror="window.hacked=1](https://evil.example/a)',
    "[![x](https://evil.example/a.png)](javascript:window.hacked=1)",
    "<javascript:window.hacked=1>",
    '<https://x.example/"onclick=window.hacked=1>',
    'https://x.example/"><script>window.hacked=1</script>',
    "```html\n<script>window.hacked=1</script>\n```",
    '```"><img/src=x/onerror=window.hacked=1>\ncode\n```',
    "`<img src=x onerror=window.hacked=1>`",
    "| <script>window.hacked=1</script> | b |\n|--|--|\n| [x](javascript:window.hacked=1) | <b onclick=x> |",
    "> <script>window.hacked=1</script>",
    "- <img src=x onerror=window.hacked=1>",
    "# <svg onload=window.hacked=1>",
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
    "&#60;img src=x onerror=window.hacked=1&#62;",
    "**<script>**window.hacked=1**</script>**",
    "*[x](javascript:window.hacked=1)*<br onload=window.hacked=1>",
    "[a](https://x.example)[b](javascript:window.hacked=1)",
    "\u202ehttps://x.example/\u202d",
    "<b><script>window.hacked=1</script>",
    "${window.hacked=1} {{constructor.constructor('window.hacked=1')()}}",
]  # fmt: skip

SCRAPS = (
    "a", "b c", "\n", "\n", "\n\n", " ", "  ", "   ", "- ", "* ", "1. ", "2) ", "> ", "```", "~~~", "# ", "#", "|",
    "| a | b |", "|--|--|", "---", "**", "*", "_", "`", "[x](", "http://a.b", ")", "\t", "- [ ] ", "\\", "<br>", "😀",
)  # fmt: skip
