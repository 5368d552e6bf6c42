// What a mark stands for: on pointing at it, and with the arrow keys once its figure has the focus.
"use strict";

const tip = document.getElementById("tip");

function showTip(mark) {
  const box = mark.getBoundingClientRect();
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const left = Math.min(box.left + box.width / 2, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${(above > 0 ? above : box.bottom + 8) + scrollY}px`;
}

function hideTip() {
  tip.hidden = true;
}

for (const plot of document.querySelectorAll(".plot")) {
  const marks = [...plot.querySelectorAll("path[aria-label]")];
  let at = -1;
  const leave = () => {
    marks[at]?.classList.remove("at");
    hideTip();
  };
  plot.addEventListener("pointerover", (event) => {
    const mark = event.target.closest("path[aria-label]");
    if (mark) showTip(mark);
    else hideTip();
  });
  plot.addEventListener("pointerleave", hideTip);
  plot.addEventListener("blur", leave);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !marks.length) return;
    event.preventDefault();
    leave();
    at = (at + step + marks.length) % marks.length;
    marks[at].classList.add("at");
    showTip(marks[at]);
  });
}

// On paper nothing can be unfolded. The programs of the failures stay folded: they would fill pages.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("main section > details, details.protocol")) part.open = true;
});
