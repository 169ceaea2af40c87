// In a conversation J and K or the arrows go to the next message and the one before, while a message has the focus.
// Whoever uses the keyboard without this reaches the same with Tab: each message's time is a link.
"use strict";

(() => {
  const steps = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 };

  function places() {
    return [...document.querySelectorAll(".chat article .time")];
  }

  function current(all) {
    const held = document.activeElement && document.activeElement.closest(".chat article");
    if (held) return all.findIndex((link) => link.closest("article") === held);
    return -1;
  }

  document.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.target.closest("input, select, textarea, audio, video, pre, [contenteditable]")) return;
    const all = places();
    if (!all.length) return;
    const at = current(all);
    if (at < 0) return; // single keys do something only where the focus is (WCAG 2.1.4), and the arrows scroll as ever
    const next = at + step;
    if (!all[next]) return;
    event.preventDefault();
    all[next].focus();
    all[next].closest("article").scrollIntoView({ block: "nearest" });
  });
})();
