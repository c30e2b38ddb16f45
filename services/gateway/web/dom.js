// @ts-nocheck browser code
/** Elements made of text and nodes: there is no way here from a string to markup. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false) continue;
    if (name === 'class') node.className = value;
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Changes the page only where the text has changed, so that a reader's selection survives. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const byId = (id) => document.getElementById(id);

/** A share of a bar, 0 to 1. */
export const setShare = (node, name, share) => node.style.setProperty(name, `${(Math.min(1, Math.max(0, share)) * 100).toFixed(2)}%`);
