// What a page does beyond its HTML. It reads without this too.
"use strict";

// On a phone a row of a table becomes a card, in which each cell says what its column is called.
function label(table) {
  if (table.dataset.labelled) return;
  const heads = [...table.querySelectorAll("thead th, thead td")];
  if (!heads.length || table.querySelector("[colspan], [rowspan]")) return;
  for (const row of table.tBodies) {
    for (const line of row.rows) {
      [...line.cells].forEach((cell, place) => {
        if (heads[place] && cell.tagName === "TD") cell.dataset.label = heads[place].innerText.trim();
        if (!cell.innerText.trim() && !cell.querySelector("img, input, button, svg")) cell.dataset.empty = "yes";
      });
    }
  }
  // A style that lays a table out otherwise must not take its meaning away.
  const roles = { thead: "rowgroup", tbody: "rowgroup", tr: "row", td: "cell", "thead th": "columnheader", "tbody th": "rowheader" };
  table.setAttribute("role", "table");
  for (const [which, role] of Object.entries(roles)) {
    for (const part of table.querySelectorAll(which)) if (!part.hasAttribute("role")) part.setAttribute("role", role);
  }
  table.dataset.labelled = "yes";
}

function prepare(root) {
  root.querySelectorAll("main table").forEach(label);
}

prepare(document);
// What htmx has put into the page.
document.addEventListener("htmx:afterSettle", () => prepare(document));
