// The few ways in which this page touches its document. Data becomes text, never markup; what did not
// change is not touched, so that live numbers disturb neither focus nor a screen reader.

/** The parts of `root` by their data-f names; those of a dialog in it are the dialog's own. */
export function parts(root) {
  const found = {};
  for (const node of root.querySelectorAll("[data-f]")) {
    if (root.nodeName === "DIALOG" || !node.closest("dialog")) found[node.dataset.f] = node;
  }
  return found;
}

/** Sets a node's text. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute; `null` removes it. */
export function mark(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Shows or hides a node. */
export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** A new element: a tag, attributes, and what is in it (texts and nodes; `null` is left out). */
export function make(tag, attributes = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "click") node.addEventListener("click", value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...inside.filter((part) => part !== null && part !== undefined));
  return node;
}

/** One of the symbols at the head of the document. */
export function icon(state) {
  const space = "http://www.w3.org/2000/svg";
  const node = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${state}`);
  node.setAttribute("class", "icon");
  node.setAttribute("aria-hidden", "true");
  node.append(use);
  return node;
}

/** Draws a line of numbers into an <svg class="spark">; returns the highest of them. */
export function draw(svg, numbers) {
  const { width, height } = svg.viewBox.baseVal;
  const top = Math.max(...numbers, 0);
  const step = numbers.length > 1 ? width / (numbers.length - 1) : width;
  const y = (number) => (height - 1 - (top > 0 ? (number / top) * (height - 4) : 0)).toFixed(1);
  const line = numbers.map((number, at) => `${at ? "L" : "M"}${(at * step).toFixed(1)} ${y(number)}`).join("");
  mark(svg.querySelector(".line"), "d", line);
  mark(svg.querySelector(".area"), "d", line && `${line}L${width} ${height}L0 ${height}Z`);
  return top;
}

/** A dialog of the document, with its parts; Close and Escape close it, and focus goes back. */
export function dialog(id) {
  const box = document.getElementById(id);
  const inside = parts(box);
  inside.close?.addEventListener("click", () => box.close());
  let opener = null;
  box.addEventListener("close", () => {
    // A reload may have taken the card with the button away: then the list is the next best place.
    const back = opener?.isConnected ? opener : document.getElementById("endpoints-title");
    back.focus();
  });
  const open = () => {
    if (box.open) return;
    opener = document.activeElement;
    box.showModal();
  };
  return { box, open, ...inside };
}
