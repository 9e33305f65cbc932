/** Writes tabs as a workbook, and files as a ZIP archive, without a library that would hide their structure. */
import { crc32, deflateRawSync } from 'node:zlib';
import type { Rows, Tabs } from './rvtools.ts';

/** How a workbook stores its texts. */
export type CellStyle = 'inline' | 'shared';

/** Returns a workbook with the tabs. */
export function workbook(tabs: Tabs, style: CellStyle = 'shared'): Uint8Array {
  const shared = new Map<string, number>();
  const sheets = Object.values(tabs).map((rows) => sheetXml(rows, style, shared));
  const names = Object.keys(tabs);
  const main = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main';
  const list = names
    .map((name, index) => `<sheet name="${name}" sheetId="${index + 1}" r:id="rId${index + 1}"/>`)
    .join('');
  const relations = names
    .map(
      (_name, index) =>
        `<Relationship Id="rId${index + 1}" Type="worksheet" Target="worksheets/sheet${index + 1}.xml"/>`,
    )
    .join('');
  const strings = [...shared.keys()].map((text) => `<si><t>${xmlText(text)}</t></si>`).join('');
  return zip({
    'xl/workbook.xml': `<?xml version="1.0"?><workbook xmlns="${main}" xmlns:r="r"><sheets>${list}</sheets></workbook>`,
    'xl/_rels/workbook.xml.rels': `<?xml version="1.0"?><Relationships>${relations}</Relationships>`,
    'xl/sharedStrings.xml': `<?xml version="1.0"?><sst xmlns="${main}">${strings}</sst>`,
    ...Object.fromEntries(sheets.map((sheet, index) => [`xl/worksheets/sheet${index + 1}.xml`, sheet])),
  });
}

function xmlText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function columnName(index: number): string {
  return index < 26 ? String.fromCharCode(65 + index) : columnName(Math.floor(index / 26) - 1) + columnName(index % 26);
}

function sheetXml(rows: Rows, style: CellStyle, shared: Map<string, number>): string {
  const cell = (text: string, at: string): string => {
    if (/^\d+$/.test(text)) return `<c r="${at}"><v>${text}</v></c>`;
    if (style === 'inline') return `<c r="${at}" t="inlineStr"><is><t>${xmlText(text)}</t></is></c>`;
    const number = shared.get(text) ?? shared.size;
    shared.set(text, number);
    return `<c r="${at}" t="s"><v>${number}</v></c>`;
  };
  const body = rows.map(
    (row, index) =>
      `<row r="${index + 1}">${row.map((text, column) => (text === '' ? '' : cell(text, `${columnName(column)}${index + 1}`))).join('')}</row>`,
  );
  return `<?xml version="1.0"?><worksheet><dimension ref="A1:Z99"/><sheetData>${body.join('')}</sheetData></worksheet>`;
}

/** Returns a ZIP archive of texts. */
export function zip(files: Readonly<Record<string, string | Uint8Array>>, level = 1): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const packed = deflateRawSync(bytes, { level });
    const header = Buffer.alloc(26);
    header.writeUInt16LE(20, 0);
    header.writeUInt16LE(8, 4);
    header.writeUInt32LE(crc32(bytes), 10);
    header.writeUInt32LE(packed.length, 14);
    header.writeUInt32LE(bytes.length, 18);
    header.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from('PK\u0003\u0004'), header, Buffer.from(name), packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    directory.push(
      Buffer.concat([Buffer.from('PK\u0001\u0002'), Buffer.from([20, 0]), header, tail, Buffer.from(name)]),
    );
    parts.push(local);
    offset += local.length;
  }
  const size = directory.reduce((sum, one) => sum + one.length, 0);
  const end = Buffer.alloc(22);
  end.write('PK\u0005\u0006', 'latin1');
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, ...directory, end]);
}
