// Tabs have addresses: the one in front with its settings stands in the browser's bar, Back goes to the one before.
() => {
  const within = %(within)s;
  const addresses = {}, asked = {}, begun = {};
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
  const queryOf = (tab, names, values) => {
    const query = new URLSearchParams({ tab });
    names.forEach((name, i) => {
      const value = values[i];
      if (value === null || value === undefined) return;
      const several = Array.isArray(value) ? value : [value];
      (several.length ? several : ['']).forEach((one) => query.append(name, one));
    });
    return query.toString();
  };
  // What a run begins with: by its end the controls may stand elsewhere. One that is refused leaves those of the last.
  window.runBegins = (button, tab, names, values) => { asked[button] = queryOf(tab, names, values); };
  window.runRefused = (button) => { delete asked[button]; };
  // A tab's controls as they stand now; button: of the run that has just ended. Returns the address of these settings,
  // or of those that the run had.
  window.settingsAre = (tab, names, values, button) => {
    if (!(touched || button)) return;
    if (asked[button]) begun[button] = asked[button];
    delete asked[button];
    const now = queryOf(tab, names, values), ran = (button && begun[button]) || now, end = button ? `&run=${button}` : '';
    addresses[tab] = ran === now ? now + end : now;
    clearTimeout(timer);
    timer = setTimeout(() => { if (front() === tab) write('replaceState', addresses[tab]); }, 150);
    return ran + end;
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
