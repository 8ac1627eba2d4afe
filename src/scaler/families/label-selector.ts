const name = '[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?';
const key = `([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?${name}`;
const value = `(${name})?`;

/** One requirement of a label selector, in the grammar of the API server. */
const requirement = new RegExp(
  `^(!\\s*${key}|${key}|${key}\\s*(=|==|!=)\\s*${value}|${key}\\s*[<>]\\s*\\d+|${key}\\s+(in|notin)\\s*\\(\\s*${value}(\\s*,\\s*${value})*\\s*\\))$`,
);

/**
 * What is wrong with a label selector such as `app=web,tier in (front,back)`; undefined where nothing is.
 * Nothing at all selects everything.
 */
export function selectorProblem(selector: string): string | undefined {
  // Commas within parentheses part values.
  const parts = selector.split(/,(?![^(]*\))/).map(part => part.trim());
  if (parts.length === 1 && parts[0] === '') return undefined;
  const wrong = parts.find(part => !requirement.test(part));
  if (wrong === undefined) return undefined;
  return wrong === ''
    ? 'has a comma with nothing beside it'
    : `has "${wrong}", which is not like key=value, key!=value, key in (a,b), key notin (a,b), key or !key`;
}
