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
// What htmx puts at the beginning of a conversation: who reads stays where they were, and a day is named once.
let seam = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const link = event.detail.requestConfig.elt;
  const grows = link.matches(".pager [hx-swap^=afterbegin]");
  seam = grows ? event.detail.target.firstElementChild : null;
  // The beginning of the conversation is on the page: there is nothing before it to go to.
  if (grows && !event.detail.serverResponse.includes('id="grow"')) link.closest(".pager").remove();
});
document.addEventListener("htmx:afterSettle", () => {
  prepare(document);
  if (!seam) return;
  const days = [...document.querySelectorAll(".chat .day")];
  days.forEach((day, place) => place && day.innerText === days[place - 1].innerText && day.remove());
  const first = seam.isConnected ? seam : document.querySelector(".chat article");
  const last = first.previousElementSibling;
  first.scrollIntoView({ block: "center" });
  const time = last && last.querySelector(".time");
  if (time) time.focus({ preventScroll: true });
  seam = null;
});
