#!/bin/sh
# Stands in for mandoc: a page of HTML for each file, with the file as its text. A file that holds `crash` ends it.
shift 6
for file; do
    text=$(cat "$file")
    [ "$text" != crash ] || exit 139
    echo "<table class=\"head\"></table><div class=\"manual-text\">"
    echo "<section class=\"Sh\"><h1 class=\"Sh\">NAME</h1><p>ls - listing</p></section>"
    echo "<section class=\"Sh\"><h1 class=\"Sh\">TEXT</h1><p>$text</p></section></div>"
done
