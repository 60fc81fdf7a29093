// The menu of classes after another photograph: its first choices, then the alphabet. The names come once for a model. While
// somebody types in it, it stays as it is: new choices would end the search.
async (value) => {
  if (!value?.info?.classes) return { __type__: 'update' };
  const { classes, top } = value.info, path = classes.split('/').map(encodeURIComponent).join('/');
  const answer = await fetch(value.image.url.replace(/file=.*$/, `file=${path}`), { cache: 'force-cache' });
  const { menu } = await answer.json(), entry = new Map(menu.map((pair) => [pair[1], pair]));
  if (document.activeElement?.closest('#class')) return { __type__: 'update' };
  return { __type__: 'update', choices: [...top.map((k) => entry.get(k)), ...menu.filter(([, k]) => !top.includes(k))] };
}
