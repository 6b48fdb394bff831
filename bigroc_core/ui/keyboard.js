// Gradio's tabs answer to Tab and Enter alone. Among tabs people expect the arrow keys, Home and End, too.
() => {
  // Of a group of alternatives Gradio greys all or none: a plain classifier has one loss, and no key may choose others.
  const grey = () => document.querySelectorAll('.losses input').forEach((one) => {
    const disabled = one.closest('.losses').classList.contains('plain') && one.value !== 'ce';
    if (one.disabled !== disabled) one.disabled = disabled;
  });
  // Gradio names the place where one paints, but does not say what it is, and only then a name is heard.
  const named = () => document.querySelectorAll('[data-testid="image"][aria-label]:not([role])').forEach(
    (one) => one.setAttribute('role', 'group'));
  new MutationObserver(() => { grey(); named(); }).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ['class'] });
  document.addEventListener('keydown', (event) => {
    const tab = event.target.closest?.('[role="tab"]');
    if (!tab || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const tabs = [...tab.parentElement.querySelectorAll('[role="tab"]')];
    const here = tabs.indexOf(tab);
    const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const chosen = tabs.at(next % tabs.length);
    chosen.focus();
    chosen.click();
  });
}
