// Elements and numbers. Texts of episodes become text nodes, never markup.

const $ = (id) => document.getElementById(id);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element: attributes and listeners ("onclick") by name, then children. */
const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** An SVG element. */
const s = (tag, props, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

const percent = (x) => (x === null || x === undefined ? "–" : `${(100 * x).toFixed(1)} %`);
const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const minutes = (seconds) => (seconds < 90 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(1)} min`);

/** A number with its sign, three decimals; small ones in powers of ten. */
function signed(x) {
  if (!Number.isFinite(x)) return "–";
  const size = Math.abs(x);
  const digits = size !== 0 && size < 0.0005 ? size.toExponential(1) : size.toFixed(3);
  return (x < 0 ? "−" : "+") + digits;
}

function short(x) {
  return Number.isFinite(x) ? String(Number(x.toPrecision(4))) : "–";
}
