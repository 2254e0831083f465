// A printed line as it is shown. It knows no document.

export function tell(line) {
  return {
    at: line.at,
    time: line.at.slice(11, 19),
    mark: `${line.process}${line.release ? ` ${line.release}` : ""}`,
    title: line.name,
    text: line.text,
    note: Boolean(line.note),
  };
}
