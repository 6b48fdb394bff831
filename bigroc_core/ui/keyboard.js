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
  // On a phone the row of tabs scrolls, and whatever brings a tab to the front (a link, Back, a key) may leave it out of sight.
  const inSight = (tab) => {
    const row = tab.closest('.tab-wrapper')?.getBoundingClientRect(), place = tab.getBoundingClientRect();
    if (row && place.width && (place.left < row.left || place.right > row.right))
      tab.closest('.tab-wrapper').scrollLeft += (place.left + place.right - row.left - row.right) / 2;
  };
  // What is wrong with a setting is said at its control, which may be far away: on a phone its button has gone to the results.
  let soon;
  const told = (nodes) => {
    const said = nodes.map((one) => one.matches?.('.validation-error') ? one : one.querySelector?.('.validation-error')).find(Boolean);
    if (!said) return;
    said.setAttribute('role', 'alert');
    clearTimeout(soon);
    soon = setTimeout(() => {
      const first = [...document.querySelectorAll('.validation-error')].find((one) => one.innerText && one.checkVisibility());
      const place = first?.getBoundingClientRect();
      if (place && (window.innerWidth < 700 || place.top < 0 || place.bottom > window.innerHeight))
        first.scrollIntoView({ behavior: 'smooth', block: 'center' });
    }, 100);
  };
  new MutationObserver((changes) => {
    grey();
    named();
    told(changes.flatMap((one) => [...one.addedNodes]));
    changes.filter((one) => one.attributeName === 'aria-selected' && one.target.ariaSelected === 'true').forEach((one) => inSight(one.target));
  }).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ['class', 'aria-selected'] });
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
