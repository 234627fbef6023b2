"use strict";
// What may come before and after a state is shown where the pointer is; a click keeps it. Without this the page has
// tooltips and the tables.
document.querySelectorAll("section").forEach(function (section) {
  const told = section.querySelector(".told");
  const hint = told.textContent;
  let kept = null;

  const drawing = section.querySelector("svg.links");
  function choose(state) {
    drawing.querySelectorAll(".in, .out, .near, .chosen").forEach(function (one) {
      one.classList.remove("in", "out", "near", "chosen");
    });
    drawing.classList.toggle("faded", state !== null);
    told.textContent = state === null ? hint : state.querySelector("title").textContent;
    if (state === null) { return; }
    const number = state.dataset.state, near = new Set();
    state.classList.add("chosen");
    drawing.querySelectorAll(".way[data-to]").forEach(function (way) {
      const sources = way.dataset.from.split(" ");
      if (way.dataset.to === number) { way.classList.add("in"); sources.forEach(function (one) { near.add(one); }); }
      if (sources.includes(number)) { way.classList.add("out"); near.add(way.dataset.to); }
    });
    drawing.querySelectorAll(".state").forEach(function (one) {
      if (near.has(one.dataset.state)) { one.classList.add("near"); }
    });
  }
  if (drawing !== null) {
    drawing.querySelectorAll(".state").forEach(function (state) {
      state.addEventListener("pointerenter", function () { if (kept === null) { choose(state); } });
      state.addEventListener("pointerleave", function () { if (kept === null) { choose(null); } });
      state.addEventListener("focus", function () { if (kept === null) { choose(state); } });
      state.addEventListener("click", function (event) {
        kept = kept === state ? null : state;
        choose(kept);
        event.stopPropagation();
      });
    });
    drawing.addEventListener("click", function () { kept = null; choose(null); });
    document.addEventListener("keydown", function (event) {
      if (event.key === "Escape") { kept = null; choose(null); }
    });
  }

  const square = section.querySelector("svg.square-of-states");
  if (square === null) { return; }
  const matrix = square.querySelector(".matrix");
  const rows = square.querySelectorAll(".row");
  const columns = matrix.dataset.columns.split(" ").filter(Boolean);
  const side = Number(matrix.dataset.side), at = Number(matrix.dataset.at);
  const cross = document.createElementNS("http://www.w3.org/2000/svg", "path");
  cross.setAttribute("class", "cross");
  matrix.appendChild(cross);
  square.addEventListener("pointermove", function (event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(square.getScreenCTM().inverse());
    const row = rows[Math.floor((point.y - at) / side)];
    const column = Math.floor((point.x - at) / side);
    if (row === undefined || columns[column] === undefined) { cross.setAttribute("d", ""); return; }
    const y = at + Math.floor((point.y - at) / side) * side, x = at + column * side;
    cross.setAttribute("d", "M0 " + y + "H" + (x + side) + "V0M0 " + (y + side) + "H" + x + "V0");
    const verb = row.dataset.bits[column] === "1" ? " may follow " : " may not follow ";
    told.textContent = columns[column] + verb + row.dataset.row;
  });
  square.addEventListener("pointerleave", function () { cross.setAttribute("d", ""); told.textContent = hint; });
});
