// While the strength is moved: the nearest of those computed beforehand in place of the run's own pictures, and which;
// whether there are any of the run that is shown.
const drag = (eps) => {
  const grid = document.querySelector('#grid .pairs'), held = document.querySelector('#strengths pre');
  if (!held || held.dataset.run !== grid?.dataset.run || !document.querySelector('#live input')?.checked) return false;
  const told = window.strengths?.text === held.textContent ? window.strengths.told : JSON.parse(held.textContent);
  window.strengths = { text: held.textContent, told };
  const cards = [...grid.querySelectorAll('.pair')];
  const norm = document.querySelector('#norm input:checked')?.value;
  if (norm !== told.norm || cards.length !== told.rungs[0].cards.length) return false;
  const facts = () => document.querySelector('#facts .facts');
  const boosted = (card) => card.querySelector('.two img:last-child');
  let own = window.ownStrength;
  if (!own || own.grid !== grid) {
    const shown = cards.map((card) => [boosted(card).src, card.querySelector('.said').innerHTML]);
    window.ownStrength = own = { grid, eps: Number(grid.dataset.eps), cards: shown, facts: facts()?.outerHTML };
  }
  const away = (one) => Math.abs(one.eps - eps);
  const nearest = [own, ...told.rungs].reduce((best, one) => (away(one) < away(best) ? one : best));
  nearest.cards.forEach(([source, said], i) => {
    boosted(cards[i]).src = source;
    cards[i].querySelector('.said').innerHTML = said;
  });
  const closeup = document.querySelector('#closeup .closeup');
  const chosen = cards.findIndex((card) => card.getAttribute('aria-pressed') === 'true');
  if (closeup && chosen >= 0) {
    closeup.querySelectorAll('img')[1].src = nearest.cards[chosen][0];
    closeup.querySelectorAll('figcaption')[1].textContent = `ε ${nearest.eps}`;
  }
  if (facts() && nearest.facts) facts().outerHTML = nearest.facts;
  document.querySelector('#status .status span').dataset.shown = nearest === own ? `shown: ε ${own.eps}, the run's own`
    : `shown: ε ${nearest.eps}, the nearest of ${told.rungs.length - 1} computed in ${told.steps} step${told.steps === 1 ? '' : 's'}`;
  return true;
};

// Gradio takes a tenth of a second and more for each of the slider's events, so the browser shows the pictures first and
// tells Gradio when the hand rests or lets go.
let waiting;
const tell = () => {
  if (!waiting) return;
  clearTimeout(waiting.timer);
  const { range } = waiting;
  waiting = undefined;
  range.dispatchEvent(new Event('input', { bubbles: true }));
};
document.addEventListener('input', (event) => {
  const range = event.target;
  if (!event.isTrusted || !range.matches?.('#eps input[type=range]') || !drag(Number(range.value))) return;
  event.stopPropagation();
  range.style.setProperty('--range_progress', `${(100 * (range.value - range.min)) / (range.max - range.min)}%`);
  const number = document.querySelector('#eps input[type=number]');
  if (number) number.value = range.value;
  clearTimeout(waiting?.timer);
  waiting = { range, timer: setTimeout(tell, 150) };
}, true);
['pointerup', 'change', 'keyup'].forEach((name) => document.addEventListener(name, tell, true));
