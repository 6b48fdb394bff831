// Tabs have addresses: the one in front with its settings stands in the browser's bar, Back goes to the one before.
() => {
  const within = %(within)s;
  const addresses = {};
  let touched = false, going = false, timer;
  ['pointerdown', 'keydown', 'drop'].forEach((name) => document.addEventListener(name, () => { touched = true; }, true));
  const tabs = () => [...document.querySelectorAll('[role="tab"]')].filter((tab) => tab.checkVisibility());
  const front = () => {
    const chosen = tabs().filter((tab) => tab.ariaSelected === 'true').map((tab) => tab.dataset.tabId);
    return chosen.length > 1 && within[chosen.at(-1)] ? chosen.at(-1) : chosen[0];
  };
  const own = () => [...new URLSearchParams(location.search)].filter(([name]) => name.startsWith('__'));
  const address = (query) => {
    const all = new URLSearchParams(query);
    own().forEach(([name, value]) => all.append(name, value));
    return `${location.pathname}?${all}`;
  };
  // So that a reload of this very address knows that it is one.
  const write = (how, query) => {
    history[how](null, '', address(query));
    sessionStorage.setItem('address', query);
  };
  // A tab's controls as they stand now; button: of the run that has just ended with them.
  window.settingsAre = (tab, names, values, button) => {
    if (!(touched || button)) return;
    const query = new URLSearchParams({ tab });
    names.forEach((name, i) => {
      const value = values[i];
      if (value === null || value === undefined) return;
      const several = Array.isArray(value) ? value : [value];
      (several.length ? several : ['']).forEach((one) => query.append(name, one));
    });
    if (button) query.append('run', button);
    addresses[tab] = query.toString();
    clearTimeout(timer);
    timer = setTimeout(() => { if (front() === tab) write('replaceState', addresses[tab]); }, 150);
    return addresses[tab];
  };
  document.addEventListener('click', (event) => {
    const clicked = event.target.closest?.('[role="tab"]');
    if (!clicked || going) return;
    // Once it is in front, which takes a while on a slow machine.
    const look = (tries) => setTimeout(() => {
      if (clicked.ariaSelected !== 'true' && tries) { look(tries - 1); return; }
      const tab = front();
      if (tab && new URLSearchParams(location.search).get('tab') !== tab)
        write('pushState', addresses[tab] ?? `tab=${tab}`);
    }, 50);
    look(100);
  });
  window.addEventListener('popstate', () => {
    const query = new URLSearchParams(location.search), wanted = query.get('tab') ?? 'boost';
    [...query.keys()].filter((name) => name.startsWith('__')).forEach((name) => query.delete(name));
    sessionStorage.setItem('address', query.toString());
    [within[wanted], wanted].filter(Boolean).forEach((id, i) => setTimeout(() => {
      going = true; // a click of ours, which is answered before it returns
      tabs().find((tab) => tab.dataset.tabId === id)?.click();
      going = false;
    }, 60 * i));
  });
}
