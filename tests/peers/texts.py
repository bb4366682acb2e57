"""Texts that every loader encodes: many scripts, one token to many, repeated and unknown tokens, odd blanks."""

TEXTS = [
    "list directory contents",
    "word " * 40,
    "the the the a a the",
    "Größe der Datei, größe DER datei — zum Beispiel 3,14 % von 2²",
    "afficher le contenu d'un répertoire où l’utilisateur n'est pas propriétaire",
    "вывести содержимое каталога; вывести содержимое каталога",
    "пиши ко мне лорем",
    "ディレクトリの内容をリスト表示する。",
    "列出目录内容",
    "文件目录列表打印",
    "καλομιτε ρουσα νοβερ λο λο λο",
    "कालो मीते रूशा लो",
    "قائمة محتويات الدليل",
    "ka lo mite rusha nover ingpol",
    "ká lömí těrůšá ňovér",
    # Unknown to the small tokenizers.
    "unknown: 𓀀𓂀 ⴰⵎⴰⵣⵉⵖ ᚠᚢᚦ 🦀🦀",
    "🦀🦀 🦀",
    "x",
    "int main(int argc, char **argv) { return argc > 1 ? 0 : -1; } /* C */",
    "  blanks before and after \n",
    "tab\tand\nnew line  and   blanks",
    " ".join(f"kalo{n} rusha{n % 3} mite" for n in range(120)),
    "ка ло ми те ру ша но вер " * 12,
]

# What the small runs' tokenizers are trained on besides their own text.
KNOWN = [text for text in TEXTS if "🦀" not in text]
