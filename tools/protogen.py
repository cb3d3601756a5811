#!/usr/bin/env python3
"""Generates the codecs of Kafka's messages from src/protocol/schema (Python's standard library only).

usage: protogen.py --schema DIR --out DIR [--units N] [--testing] [--list]
  DIR/messages/<name>.h   one header per schema file      DIR/messages_<n>.cc  N units with the codecs
  DIR/api_keys.h, .cc     keys, names and versions        --testing: DIR/testing_<n>.cc instead, random values for tests
  --list                  print the files that would be written, for the build

Schema format ('#' starts a comment, indentation of 2 nests):
  api <Name>  key <n>  versions <a>..<b>  flexible <n>+ | none       then `request` and `response`, each with fields; or
  stored <Name>  [type <n>]  versions <a>..<b>  flexible ..          then `fields`
  <name>  <type>  <versions>  [nullable [<versions>]] [default <value>] [tag <n>] [ignorable]
  struct <Name>                                                      a struct that several fields of the message use
Types: bool int8 int16 int32 int64 uint16 uint32 float64 uuid string bytes records, <Struct>, []<type>. The fields of a struct
stand below the first field that uses it or below its `struct` line. Versions: `3+`, `2..5`, `4`. Without `default`: zero, empty;
`ignorable`: Kafka's writer drops the field silently in versions without it, others it refuses (this writer drops both).
"""
import argparse
import os
import re
import sys

INTS = {'int8': ('int8_t', 1), 'int16': ('int16_t', 2), 'int32': ('int32_t', 4), 'int64': ('int64_t', 8),
        'uint16': ('uint16_t', 2), 'uint32': ('uint32_t', 4), 'bool': ('bool', 1), 'float64': ('double', 8)}
PRIMITIVES = set(INTS) | {'uuid', 'string', 'bytes', 'records'}
CPP_WORDS = {'default', 'operator', 'class', 'struct', 'new', 'delete', 'switch', 'case', 'public', 'private', 'protected', 'register',
             'namespace', 'template', 'typename', 'union', 'virtual', 'export', 'read', 'write', 'encode', 'decode', 'reader', 'writer',
             'at_version', 'flexible', 'tags'}  # names that the generated code needs for itself
NEVER = 32767


class SchemaError(Exception):
    pass


class Field:
    def __init__(self, name, type_, versions):
        self.name, self.versions = name, versions
        self.array = type_.startswith('[]')
        self.element = type_[2:] if self.array else type_
        self.nullable, self.default, self.tag, self.comment = None, None, None, None
        self.is_struct = self.element not in PRIMITIVES

    @property
    def cpp(self):
        base = INTS[self.element][0] if self.element in INTS else {
            'uuid': 'Uuid', 'string': 'std::string', 'bytes': 'Bytes', 'records': 'Records'}.get(self.element, self.element)
        if self.array:
            base = 'std::vector<%s>' % base
        return 'std::optional<%s>' % base if self.optional else base

    @property
    def optional(self):
        return self.nullable is not None and not (self.element == 'records' and not self.array)

    @property
    def member(self):
        return self.name + '_' if self.name in CPP_WORDS else self.name

    def initial(self):
        """What stands behind the member's name."""
        if self.optional:
            if self.default == 'null':
                return ''
            if self.default is not None:
                return ' = ' + self.literal()
            return ' = %s{}' % re.fullmatch(r'std::optional<(.*)>', self.cpp).group(1)
        if self.element in INTS and not self.array:
            return ' = ' + self.literal()
        if self.default is not None:
            return ' = ' + self.literal()
        return ''

    def literal(self):
        if self.element == 'string':
            return '"%s"' % self.default
        if self.element == 'bool':
            return self.default or 'false'
        value = self.default or '0'
        if value == str(-2 ** 31):
            return '(-2147483647 - 1)'
        if value == str(2 ** 63 - 1):
            return 'INT64_MAX'
        return value

    def differs_from_default(self):
        """C++ condition: a tagged field is written only if it holds."""
        m = self.member
        if self.optional:
            if self.default == 'null':
                return '%s.has_value()' % m
            if self.array or self.element in ('string', 'bytes'):
                return '!(%s && %s->empty())' % (m, m)
            return '!(%s && *%s == %s{})' % (m, m, self.element)
        if self.array or self.element in ('string', 'bytes'):
            return '!%s.empty()' % m if self.default is None else '%s != %s' % (m, self.literal())
        if self.element == 'uuid':
            return '!%s.is_zero()' % m
        if self.is_struct:
            return '!(%s == %s{})' % (m, self.element)
        if self.element == 'bool':
            return m if self.literal() == 'false' else '!' + m
        return '%s != %s' % (m, self.literal())


class Struct:
    def __init__(self, name):
        self.name, self.fields, self.reach = name, [], None  # reach: versions in which it is used


class Message:
    def __init__(self, name, kind, low, high, flexible_from):
        self.name, self.kind, self.low, self.high, self.flexible_from = name, kind, low, high, flexible_from
        self.key = self.type = None
        self.root = Struct(name)
        self.structs = {}

    def ordered_structs(self):
        """Each struct behind those that it uses."""
        done, order = set(), []

        def visit(struct, path):
            if struct.name in path:
                raise SchemaError('%s: struct %s contains itself' % (self.name, struct.name))
            for field in struct.fields:
                if field.is_struct and field.element not in done:
                    visit(self.structs[field.element], path + [struct.name])
            if struct is not self.root and struct.name not in done:
                done.add(struct.name)
                order.append(struct)

        visit(self.root, [])
        return order


class Schema:
    """One file."""

    def __init__(self, stem):
        self.stem, self.messages, self.api = stem, [], None


def parse_versions(text, high):
    match = re.fullmatch(r'(\d+)(?:\+|\.\.(\d+))?', text)
    if not match:
        raise SchemaError('bad versions %r' % text)
    low = int(match.group(1))
    if text.endswith('+'):
        return (low, high)
    return (low, int(match.group(2) or low))


def parse_file(path):
    schema = Schema(os.path.basename(path)[:-len('.schema')])
    message, stack, head = None, [], None
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        text, _, comment = line.partition('#')
        words = text.split()
        if not words:
            continue
        try:
            depth = (len(text) - len(text.lstrip())) // 2
            if words[0] in ('api', 'stored'):
                head = dict(zip(words[2::2], words[3::2]), form=words[0], name=words[1])
                low, high = parse_versions(head['versions'], 0)
                flexible = NEVER if head['flexible'] == 'none' else int(head['flexible'].rstrip('+'))
                if head['form'] == 'api':
                    schema.api = (head['name'], int(head['key']), low, high, flexible)
            elif depth == 0:
                if words[0] not in (('request', 'response') if head['form'] == 'api' else ('fields',)):
                    raise SchemaError('unknown section %r' % words[0])
                name = head['name'] + {'request': 'Request', 'response': 'Response', 'fields': ''}[words[0]]
                message = Message(name, words[0] if head['form'] == 'api' else 'stored', low, high, flexible)
                message.key = int(head['key']) if 'key' in head else None
                message.type = int(head['type']) if 'type' in head else None
                schema.messages.append(message)
                stack = [message.root]
            elif words[0] == 'struct':
                struct = message.structs.setdefault(words[1], Struct(words[1]))
                stack = stack[:depth] + [struct]
            else:
                field = parse_field(words, message)
                field.comment = comment.strip() or None
                if depth > len(stack):
                    raise SchemaError('too deep')
                stack = stack[:depth]
                if stack[-1] is None:
                    raise SchemaError('nested below a field that is no struct')
                stack[-1].fields.append(field)
                stack.append(message.structs.setdefault(field.element, Struct(field.element)) if field.is_struct else None)
        except (SchemaError, ValueError, KeyError, IndexError) as error:
            sys.exit('%s:%d: %s' % (path, number, error))
    for message in schema.messages:
        try:
            check(message)
        except SchemaError as error:
            sys.exit('%s: %s' % (path, error))
    return schema


def parse_field(words, message):
    field = Field(words[0], words[1], parse_versions(words[2], message.high))
    rest = words[3:]
    while rest:
        word = rest.pop(0)
        if word == 'nullable':
            field.nullable = parse_versions(rest.pop(0), message.high) if rest and rest[0][0].isdigit() else field.versions
        elif word == 'default':
            field.default = rest.pop(0)
        elif word == 'tag':
            field.tag = int(rest.pop(0))
        elif word != 'ignorable':
            raise SchemaError('unknown word %r' % word)
    if not re.fullmatch(r'[a-z][a-z0-9_]*', field.name):
        raise SchemaError('field name %r is not snake_case' % field.name)
    if field.is_struct and not re.fullmatch(r'[A-Z][A-Za-z0-9]*', field.element):
        raise SchemaError('unknown type %r' % field.element)
    return field


def check(message):
    def reach(struct, low, high):
        old = struct.reach
        struct.reach = (low, high) if old is None else (min(low, old[0]), max(high, old[1]))
        for field in struct.fields:
            if field.is_struct:
                reach(message.structs[field.element], max(low, field.versions[0]), min(high, field.versions[1]))

    order = message.ordered_structs()
    reach(message.root, message.low, message.high)
    for struct in order + [message.root]:
        if not struct.fields and struct is not message.root:
            raise SchemaError('struct %s has no fields' % struct.name)
        names = [field.name for field in struct.fields]
        if len(set(names)) != len(names):
            raise SchemaError('%s: a field twice' % struct.name)
        tags = [field.tag for field in struct.fields if field.tag is not None]
        if len(set(tags)) != len(tags):
            raise SchemaError('%s: a tag twice' % struct.name)
        for field in struct.fields:
            if field.array and field.element in ('bool', 'float64', 'records'):
                raise SchemaError('%s.%s: arrays of %s are not supported' % (struct.name, field.name, field.element))
            if field.element == 'records' and (field.tag is not None or message.kind == 'stored'):
                raise SchemaError('%s.%s: records neither in tags nor in stored messages' % (struct.name, field.name))
            if field.tag is not None and max(field.versions[0], struct.reach[0]) < message.flexible_from:
                raise SchemaError('%s.%s: a tag in a version that is not flexible' % (struct.name, field.name))


# ---- conditions on the version, with what is always or never so left out

def within(versions, reach):
    """C++ condition for `at_version` in `versions`, known to be in `reach`: 'true', 'false' or an expression."""
    low, high = versions
    if high < reach[0] or low > reach[1] or low > high:
        return 'false'
    parts = []
    if low > reach[0]:
        parts.append('at_version >= %d' % low if low != high or high >= reach[1] else 'at_version == %d' % low)
    if high < reach[1] and not (low == high and low > reach[0]):
        parts.append('at_version <= %d' % high)
    return ' && '.join(parts) or 'true'


def flexible_of(message, reach):
    if message.flexible_from <= reach[0]:
        return 'true'
    if message.flexible_from > reach[1]:
        return 'false'
    return 'at_version >= %d' % message.flexible_from


def smallest(message, field_or_struct, flexible, struct_reach=None):
    """Bytes that one element takes at least in the (in)flexible versions; 1 or more."""
    if isinstance(field_or_struct, Struct):
        low, high = field_or_struct.reach
        low, high = (max(low, message.flexible_from), high) if flexible else (low, min(high, message.flexible_from - 1))
        if low > high:
            return 1
        sizes = []
        for version in range(low, high + 1):
            size = 1 if flexible else 0
            for field in field_or_struct.fields:
                if field.tag is None and field.versions[0] <= version <= field.versions[1]:
                    size += field_size(message, field, flexible, version)
            sizes.append(size)
        return max(1, min(sizes))
    return element_size(message, field_or_struct.element, flexible)


def element_size(message, element, flexible):
    if element in INTS:
        return INTS[element][1]
    if element == 'uuid':
        return 16
    if element in ('string', 'bytes', 'records'):
        return 1 if flexible else (2 if element == 'string' else 4)
    return smallest(message, message.structs[element], flexible)


def field_size(message, field, flexible, version):
    if field.array:
        return 1 if flexible else 4
    if field.is_struct and field.nullable and field.nullable[0] <= version <= field.nullable[1]:
        return 1
    return element_size(message, field.element, flexible)


# ---- C++

def struct_lines(struct, message, indent):
    pad = ' ' * indent
    out = []
    for field in struct.fields:
        line = '%s%s %s%s;' % (pad, field.cpp, field.member, field.initial())
        if field.comment:
            line += '  // ' + field.comment
        out.append(line)
    out.append('%sstd::vector<UnknownTag> unknown_tags;' % pad)
    out.append('')
    return out


def header(schema):
    out = ['// Generated by tools/protogen.py from %s.schema.' % schema.stem, '#pragma once', '', '#include "protocol/api_keys.h"',
           '#include "protocol/codec.h"', '', 'namespace odradek::protocol {', '']
    for message in schema.messages:
        out.append('struct %s {' % message.name)
        if message.key is not None:
            out.append('  static constexpr ApiKey kKey = ApiKey::k%s;' % schema.api[0])
            out.append('  static constexpr bool kIsRequest = %s;' % ('true' if message.kind == 'request' else 'false'))
        if message.type is not None:
            out.append('  static constexpr int16_t kRecordType = %d;' % message.type)
        out += ['  static constexpr std::string_view kName = "%s";' % message.name,
                '  static constexpr int16_t kMinVersion = %d, kMaxVersion = %d, kFlexibleFrom = %d;' % (
                    message.low, message.high, message.flexible_from), '']
        for struct in message.ordered_structs():
            out.append('  struct %s {' % struct.name)
            out += struct_lines(struct, message, 4)
            out += ['    void read(Reader& reader, int16_t at_version);', '    void write(Writer& writer, int16_t at_version) const;',
                    '    bool operator==(const %s&) const = default;' % struct.name, '  };', '']
        out += struct_lines(message.root, message, 2)
        out += ['  // Into a fresh message. Errors: kUnsupportedVersion, kInvalidRequest.',
                '  [[nodiscard]] Result<void> decode(Reader& reader, int16_t at_version);',
                '  // Fields that the version lacks are left out. CHECK: the version is one of the range.',
                '  void encode(Writer& writer, int16_t at_version) const;',
                '  void read(Reader& reader, int16_t at_version);', '  void write(Writer& writer, int16_t at_version) const;',
                '  bool operator==(const %s&) const = default;' % message.name, '};', '']
    out.append('}  // namespace odradek::protocol')
    return '\n'.join(out) + '\n'


def arguments(field, message, reach, reading):
    """Call that reads or writes the field."""
    flexible = 'flexible' if flexible_of(message, reach) not in ('true', 'false') else flexible_of(message, reach)
    if field.tag is not None:
        flexible = 'true'
    nullable = within(field.nullable, reach) if field.nullable else 'false'
    side = 'reader' if reading else 'writer'
    m = field.member
    name = ', "%s"' % field.name if reading else ''
    if field.array:
        parts = [m, flexible]
        if field.optional:
            parts.append(nullable)
        parts.append('at_version')
        if reading:
            small = [smallest(message, field if not field.is_struct else message.structs[field.element], f) for f in (False, True)]
            if flexible in ('true', 'false') or small[0] == small[1]:
                parts.append(str(small[flexible == 'true']))
            else:
                parts.append('flexible ? %d : %d' % (small[1], small[0]))
        return '%s.array(%s%s);' % (side, ', '.join(parts), name)
    if field.element in ('string', 'bytes'):
        parts = [m, flexible] + ([nullable] if field.optional else [])
        return '%s.%s(%s%s);' % (side, field.element, ', '.join(parts), name)
    if field.element == 'records':
        return '%s.records(%s, %s, %s%s);' % (side, m, flexible, nullable, name)
    if field.is_struct:
        if field.optional:
            return '%s.structure(%s, %s, %s, at_version%s);' % (side, m, nullable, 'true' if field.tag is not None else 'false', name)
        return '%s.%s(%s, at_version);' % (m, 'read' if reading else 'write', side)
    return '%s.number(%s%s);' % (side, m, name)


def body(struct, message, reading):
    reach = struct.reach
    side = 'reader' if reading else 'writer'
    out = []
    flexible = flexible_of(message, reach)
    if flexible not in ('true', 'false'):
        out.append('  const bool flexible = %s;' % flexible)
    fields = [field for field in struct.fields if field.tag is None]
    open_condition = 'true'
    for field in fields:
        condition = within(field.versions, reach)
        if condition == 'false':
            continue
        if condition != open_condition:
            if open_condition != 'true':
                out.append('  }')
            if condition != 'true':
                out.append('  if (%s) {' % condition)
            open_condition = condition
        out.append(('    ' if condition != 'true' else '  ') + arguments(field, message, reach, reading))
    if open_condition != 'true':
        out.append('  }')
    if flexible == 'false':
        return out
    tagged = sorted((field for field in struct.fields if field.tag is not None), key=lambda field: field.tag)
    lines = []
    if not tagged:
        lines.append('%s.unknown_tags(unknown_tags);' % side)
    elif reading:
        lines += ['for (Reader::Tags tags(reader); tags.next();) {', '  switch (tags.tag()) {']
        for field in tagged:
            condition = within(field.versions, (max(reach[0], message.flexible_from), reach[1]))
            lines.append('    case %d:' % field.tag)
            if condition == 'true':
                lines += ['      ' + arguments(field, message, reach, True), '      tags.end();', '      break;']
            else:
                lines += ['      if (%s) {' % condition, '        ' + arguments(field, message, reach, True), '        tags.end();',
                          '      } else {', '        tags.keep(unknown_tags);', '      }', '      break;']
        lines += ['    default:', '      tags.keep(unknown_tags);', '  }', '}']
    else:
        for field in tagged:
            condition = within(field.versions, (max(reach[0], message.flexible_from), reach[1]))
            differs = field.differs_from_default()
            lines.append('const bool tag_%d = %s;' % (field.tag, differs if condition == 'true' else condition + ' && ' + differs))
        lines.append('Writer::Tags tags(writer, unknown_tags, %s);' % ' + '.join('uint32_t{tag_%d}' % field.tag for field in tagged))
        for field in tagged:
            lines += ['if (tag_%d) {' % field.tag, '  tags.begin(%d);' % field.tag, '  ' + arguments(field, message, reach, False),
                      '  tags.end();', '}']
        lines.append('tags.finish();')
    if flexible == 'true':
        out += ['  ' + line for line in lines]
    elif len(lines) == 1:
        out.append('  if (flexible) ' + lines[0])
    else:
        out += ['  if (flexible) {'] + ['    ' + line for line in lines] + ['  }']
    return out


def uses(lines, word):
    return any(re.search(r'\b%s\b' % word, line) for line in lines)


def codec(message):
    out = []
    for struct in message.ordered_structs() + [message.root]:
        name = message.name if struct is message.root else '%s::%s' % (message.name, struct.name)
        for reading in (True, False):
            lines = body(struct, message, reading)
            side = ('reader' if uses(lines, 'reader') else '') if reading else ('writer' if uses(lines, 'writer') else '')
            version = 'at_version' if uses(lines, 'at_version') else ''
            if reading:
                out.append('void %s::read(Reader& %s, int16_t %s) {' % (name, side, version))
            else:
                out.append('void %s::write(Writer& %s, int16_t %s) const {' % (name, side, version))
            out += [line.replace('Reader& ,', 'Reader&,') for line in lines]
            out += ['}', '']
    out += ['Result<void> %s::decode(Reader& reader, int16_t at_version) {' % message.name,
            '  if (at_version < kMinVersion || at_version > kMaxVersion) return unsupported(kName, at_version);',
            '  read(reader, at_version);', '  return reader.result(kName);', '}', '',
            'void %s::encode(Writer& writer, int16_t at_version) const {' % message.name,
            '  CHECK(at_version >= kMinVersion && at_version <= kMaxVersion);', '  write(writer, at_version);', '}', '']
    return [re.sub(r'(Reader&|Writer&|int16_t) ([,)])', r'\1\2', line) for line in out]


def unit(schemas):
    out = ['// Generated by tools/protogen.py.']
    out += ['#include "protocol/messages/%s.h"' % schema.stem for schema in schemas]
    out += ['', 'namespace odradek::protocol {', '']
    for schema in schemas:
        for message in schema.messages:
            out += codec(message)
    out.append('}  // namespace odradek::protocol')
    return '\n'.join(out) + '\n'


def api_keys(schemas):
    apis = sorted((schema.api for schema in schemas if schema.api), key=lambda api: api[1])
    out = ['// Generated by tools/protogen.py: keys and versions of all APIs.', '#pragma once', '', '#include <cstdint>', '#include <span>',
           '#include <string_view>', '', 'namespace odradek::protocol {', '', 'enum class ApiKey : int16_t {']
    out += ['  k%s = %d,' % (api[0], api[1]) for api in apis]
    out += ['};', '', 'struct ApiInfo {', '  ApiKey key;', '  std::string_view name;', '  // The versions that the codecs know; what is'
            ' served stands in api/table.cc.', '  int16_t min, max;', '  int16_t flexible_from;  // %d: never' % NEVER, '};', '',
            '// "Fetch"; "unknown" for a key without api.', 'std::string_view name_of(ApiKey key);', '// nullptr: no such key.',
            'const ApiInfo* find_api(int16_t key);', '// By rising key.', 'std::span<const ApiInfo> all_apis();', '',
            '}  // namespace odradek::protocol']
    source = ['// Generated by tools/protogen.py.', '#include "protocol/api_keys.h"', '', 'namespace odradek::protocol {',
              'namespace {', '', 'constexpr ApiInfo kApis[] = {']
    source += ['    {ApiKey::k%s, "%s", %d, %d, %d},' % (api[0], api[0], api[2], api[3], api[4]) for api in apis]
    source += ['};', 'constexpr int8_t kPlaces[] = {  // in kApis, by key; -1: none']
    places = {api[1]: i for i, api in enumerate(apis)}
    numbers = [str(places.get(key, -1)) for key in range(max(places) + 1)]
    source += ['    ' + ', '.join(numbers[i:i + 20]) + ',' for i in range(0, len(numbers), 20)]
    source += ['};', '', '}  // namespace', '', 'const ApiInfo* find_api(int16_t key) {',
               '  if (key < 0 || key >= static_cast<int16_t>(std::size(kPlaces)) || kPlaces[key] < 0) return nullptr;',
               '  return &kApis[kPlaces[key]];', '}', '', 'std::string_view name_of(ApiKey key) {',
               '  const ApiInfo* api = find_api(static_cast<int16_t>(key));', '  return api == nullptr ? "unknown" : api->name;', '}', '',
               'std::span<const ApiInfo> all_apis() { return kApis; }', '', '}  // namespace odradek::protocol']
    return '\n'.join(out) + '\n', '\n'.join(source) + '\n'


# ---- random values, for tests only

def testing(schemas, first):
    out = ['// Generated by tools/protogen.py.', '#include "protocol/testing/random_value.h"']
    out += ['#include "protocol/messages/%s.h"' % schema.stem for schema in schemas]
    out += ['', 'namespace odradek::protocol::testing {', '']
    for schema in schemas:
        for message in schema.messages:
            structs = message.ordered_structs() + [message.root]
            names = [message.name if s is message.root else '%s::%s' % (message.name, s.name) for s in structs]
            for struct, name in zip(structs, names):
                lines = []
                for field in struct.fields:
                    condition = within(field.versions, struct.reach)
                    if condition == 'false':
                        continue
                    nullable = within(field.nullable, struct.reach) if field.nullable else 'false'
                    call = 'random.value(m.%s%s, at_version);' % (field.member, ', ' + nullable if field.optional or field.cpp == 'Records' else '')
                    if field.tag is not None:
                        call = 'if (random.chance(2)) ' + call
                    lines.append('  ' + ('if (%s) ' % condition if condition != 'true' else '') + call)
                flexible = flexible_of(message, struct.reach)
                if flexible != 'false':
                    lines.append('  %srandom.unknown_tags(m.unknown_tags);' % ('' if flexible == 'true' else 'if (%s) ' % flexible))
                used = uses(lines, 'at_version')
                out.append('void randomize(%s& %s, RandomValue& %s, int16_t%s) {' % (
                    name, 'm' if uses(lines, 'm') else '', 'random' if uses(lines, 'random') else '', ' at_version' if used else ''))
                out += lines + ['}', '']
    out = [line.replace('& ,', '&,') for line in out]
    out += ['void add_messages_%d(std::vector<AnyMessage>& to) {' % first]
    for schema in schemas:
        for message in schema.messages:
            key = message.key if message.key is not None else -1
            out.append('  to.push_back(any_message<%s>("%s", %d));' % (message.name, message.kind, key))
    out += ['}', '', '}  // namespace odradek::protocol::testing']
    return '\n'.join(out) + '\n'


def testing_index(count):
    out = ['// Generated by tools/protogen.py.', '#include "protocol/testing/any_message.h"', '', 'namespace odradek::protocol::testing {', '']
    out += ['void add_messages_%d(std::vector<AnyMessage>& to);' % i for i in range(count)]
    out += ['', 'const std::vector<AnyMessage>& all_messages() {', '  static const std::vector<AnyMessage> messages = [] {',
            '    std::vector<AnyMessage> all;'] + ['    add_messages_%d(all);' % i for i in range(count)]
    out += ['    return all;', '  }();', '  return messages;', '}', '', 'const AnyMessage* find_message(std::string_view name) {',
            '  for (const AnyMessage& message : all_messages()) {', '    if (message.name == name) return &message;', '  }',
            '  return nullptr;', '}', '', '}  // namespace odradek::protocol::testing']
    return '\n'.join(out) + '\n'


# ---- files

def spread(schemas, units):
    """Schemas in name order, cut into `units` runs of about the same number of fields."""
    weights = [sum(len(s.fields) + 3 for m in schema.messages for s in m.ordered_structs() + [m.root]) for schema in schemas]
    runs, total, done = [[] for _ in range(units)], sum(weights), 0
    for schema, weight in zip(schemas, weights):
        runs[min(units - 1, done * units // total)].append(schema)
        done += weight
    return runs


def write(path, text):
    """Keeps the time of a file that does not change, so that nothing is compiled again for it."""
    try:
        if open(path, encoding='utf-8').read() == text:
            return
    except OSError:
        pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def main():
    parser = argparse.ArgumentParser(description='Codecs from schemas')
    parser.add_argument('--schema', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--units', type=int, default=8)
    parser.add_argument('--testing', action='store_true')
    parser.add_argument('--list', action='store_true')
    options = parser.parse_args()
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(options.schema) for name in names if name.endswith('.schema')]
    paths.sort(key=os.path.basename)
    stems = [os.path.basename(path)[:-len('.schema')] for path in paths]
    if options.testing:
        files = ['testing_%d.cc' % i for i in range(options.units)] + ['testing.cc']
    else:
        files = ['api_keys.h', 'api_keys.cc'] + ['messages/%s.h' % stem for stem in stems] + ['messages_%d.cc' % i for i in range(options.units)]
    if options.list:
        print(';'.join(os.path.join(options.out, name) for name in files))
        return
    schemas = [parse_file(path) for path in paths]
    names = [message.name for schema in schemas for message in schema.messages]
    keys = [schema.api[1] for schema in schemas if schema.api]
    if len(set(names)) != len(names) or len(set(stems)) != len(stems) or len(set(keys)) != len(keys):
        sys.exit('a name or a key twice')
    runs = spread(schemas, options.units)
    texts = {}
    if options.testing:
        for i, run in enumerate(runs):
            texts['testing_%d.cc' % i] = testing(run, i)
        texts['testing.cc'] = testing_index(options.units)
    else:
        texts['api_keys.h'], texts['api_keys.cc'] = api_keys(schemas)
        for schema in schemas:
            texts['messages/%s.h' % schema.stem] = header(schema)
        for i, run in enumerate(runs):
            texts['messages_%d.cc' % i] = unit(run)
    assert sorted(texts) == sorted(files)
    for name, text in texts.items():
        write(os.path.join(options.out, name), text)


if __name__ == '__main__':
    main()
