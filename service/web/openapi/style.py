"""How the page of the document looks: light or dark, as the reader's system is."""

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
:root { --accent: light-dark(#0645ad, #8ab4f8); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 64rem; padding: 1rem; }
a { color: var(--accent); }
h2 { border-bottom: 2px solid var(--line); margin-top: 3rem; }
article { border: 1px solid var(--line); border-radius: .4rem; margin: 1rem 0; }
article { padding: .5rem 1rem; }
h3 { font-size: 1.1rem; margin: .3rem 0; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 1rem 0 .2rem; }
p { margin: .4rem 0; max-width: 48rem; }
code, pre { font: .9em ui-monospace, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--soft); overflow: auto; padding: .6rem; }
summary { cursor: pointer; }
nav ul { columns: 18rem; list-style: none; padding: 0; }
.method { border: 1px solid; border-radius: .3rem; font-weight: bold; padding: 0 .4rem; }
.rules { opacity: .8; }
dl { border-left: 3px solid var(--line); margin: .3rem 0 .3rem .2rem; padding-left: .8rem; }
dt { font-weight: bold; margin-top: .3rem; }
dd { margin: 0 0 0 1rem; }
"""
