// A picture pasted anywhere on the tab is the photograph; Gradio's own button reads the clipboard only when it is pressed.
document.addEventListener('paste', (event) => {
  const file = [...event.clipboardData?.files ?? []].find(({ type }) => type.startsWith('image/'));
  const chooser = document.querySelector('#photo input[type=file]');
  if (!file || !chooser || !element.offsetParent || event.target.closest?.('input, textarea')) return;
  const held = new DataTransfer();
  held.items.add(file);
  chooser.files = held.files;
  chooser.dispatchEvent(new Event('change', { bubbles: true }));
  event.preventDefault();
});
