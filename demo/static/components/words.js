// A sentence with its {fields} filled in. The server writes its text in the visitor's language before it sends this script
// (demo/language/sources.py), so it must stand here as one literal in single quotes.
const _ = (text, fields = {}) => text.replace(/\{(\w+)\}/g, (all, name) => fields[name] ?? all);
