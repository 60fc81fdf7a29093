// Short names for what every component does to its nodes. Text from the server is only ever set as text.
const $ = (selector, root = element) => root.querySelector(selector);

function make(tag, className = '', text = '') {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

function setText(node, text) { // an equal text would still cost a layout
  if (node.textContent !== text) node.textContent = text;
}

function setVisible(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}
