#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <map>

#include "cli/common/admin.h"
#include "cli/records/commands.h"
#include "cli/records/input.h"
#include "cli/records/stop_signal.h"
#include "client/producer.h"

namespace odradek::cli {
namespace {

enum class Format { kLines, kJsonLines, kLengthPrefixed, kWhole };

struct Command {
  Session session{"produce"};
  std::string topic, key, key_separator, acks = "all";
  std::vector<std::string> headers;
  std::optional<int32_t> partition;
  Format format = Format::kLines;
  bool json_lines = false, not_idempotent = false;
  client::ProducerOptions options;
};

ByteView bytes_of(const std::string& text) { return as_bytes(text); }
std::optional<ByteView> bytes_of(const std::optional<std::string>& text) { return text ? std::optional(as_bytes(*text)) : std::nullopt; }

// The next whole record of what has come; nullopt: more input is needed.
Result<std::optional<InputRecord>> next_record(const Command& command, Input& input, bool& whole_taken) {
  InputRecord record;
  switch (command.format) {
    case Format::kWhole:
      if (!input.at_end() || whole_taken) return std::nullopt;
      whole_taken = true;
      record.value = std::string(input.rest());
      return record;
    case Format::kLengthPrefixed: {
      auto piece = input.length_prefixed();
      if (!piece) return fail(std::move(piece.error()));
      if (!*piece) return std::nullopt;
      record.value = std::string(**piece);
      return record;
    }
    case Format::kJsonLines: {
      auto line = input.line();
      while (line && line->empty()) line = input.line();
      if (!line) return std::nullopt;
      auto parsed = parse_json_record(*line);
      if (!parsed) return fail(std::move(parsed.error()));
      return std::move(*parsed);
    }
    case Format::kLines: break;
  }
  auto line = input.line();
  if (!line) return std::nullopt;
  size_t at = command.key_separator.empty() ? std::string_view::npos : line->find(command.key_separator);
  if (at != std::string_view::npos) {
    record.key = std::string(line->substr(0, at));
    line->remove_prefix(at + command.key_separator.size());
  }
  record.value = std::string(*line);
  return record;
}

class Progress {
 public:
  Progress(const client::Producer& producer, base::Clock& clock) : producer_(producer), clock_(clock), shown_(::isatty(STDERR_FILENO) != 0 && ::isatty(STDIN_FILENO) == 0), start_ms_(clock.monotonic_ms()), last_ms_(start_ms_) {}
  void update(int64_t read) {
    int64_t now = clock_.monotonic_ms();
    if (!shown_ || now - last_ms_ < 250) return;
    last_ms_ = now;
    fmt::print(stderr, "\r{} records read, {} acked, {} /s ", read, producer_.delivered_records(), producer_.delivered_records() * 1000 / std::max<int64_t>(1, now - start_ms_));
    drawn_ = true;
  }
  void end() const {
    if (drawn_) fmt::print(stderr, "\r\033[K");
  }

 private:
  const client::Producer& producer_;
  base::Clock& clock_;
  const bool shown_;
  const int64_t start_ms_;
  int64_t last_ms_;
  bool drawn_ = false;
};

Result<void> run(Command& command, client::Producer& producer, int64_t& read) {
  std::vector<std::pair<std::string, std::string>> fixed;
  for (const std::string& each : command.headers) fixed.push_back(*parse_assignment(each));
  Input input(STDIN_FILENO);
  Progress progress(producer, command.session.clock());
  bool whole_taken = false;
  std::vector<record::HeaderView> headers;
  for (bool more = true; more && stop_signal() == 0;) {
    for (;;) {
      auto record = next_record(command, input, whole_taken);
      if (!record) return fail(ErrorCode::kInvalidRequest, fmt::format("record {} of the input: {}", read + 1, record.error().what));
      if (!*record) break;
      const InputRecord& taken = **record;
      headers.clear();
      for (const auto& [name, value] : fixed) headers.push_back({name, bytes_of(value)});
      for (const InputHeader& header : taken.headers) headers.push_back({header.key, bytes_of(header.value)});
      client::ProducerRecord sent{.partition = command.partition ? command.partition : taken.partition,
                                  .timestamp = taken.timestamp.value_or(command.session.clock().wall_ms()),
                                  .key = taken.key || command.key.empty() ? bytes_of(taken.key) : std::optional(bytes_of(command.key)),
                                  .value = bytes_of(taken.value),
                                  .headers = headers};
      if (auto done = producer.send(command.topic, sent); !done) return done;
      ++read;
      progress.update(read);
    }
    if (input.at_end() || stop_signal() != 0) break;
    // The input may go on without a pause, but slowly.
    if (auto done = producer.poll(); !done) return done;
    // Someone types, or the writer pauses: what is there leaves after the linger, then the wait may be long.
    Input::State state = input.read_more(static_cast<int>(command.options.linger_ms));
    if (state == Input::State::kNothingYet && stop_signal() == 0) {
      if (auto done = producer.flush(); !done) return done;
      input.read_more(-1);
    }
    more = input.error() == 0;  // else what was read last may be half a record
  }
  auto done = producer.flush();
  progress.end();
  if (done && input.error() != 0) return fail(ErrorCode::kInvalidRequest, std::string("standard input: ") + std::strerror(input.error()));
  return done;
}

int produce(Command& command) {
  Session& session = command.session;
  for (const std::string& each : command.headers) {
    if (!parse_assignment(each)) return session.wrong("--header " + each + " is not name=value");
  }
  if (command.json_lines) command.format = Format::kJsonLines;
  if (!command.key_separator.empty() && command.format != Format::kLines) return session.wrong("--key-separator goes with lines only");
  command.options.acks = command.acks == "all" ? int16_t{-1} : static_cast<int16_t>(std::stoi(command.acks));
  command.options.idempotent = command.options.acks == -1 && !command.not_idempotent;
  command.options.request_timeout_ms = session.timeout_ms();
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  // A batch above the topic's limit would be refused, however small its records are.
  if (auto configs = describe_configs(**cluster, {{ResourceType::kTopic, command.topic}}); configs) {
    for (const auto& config : configs->at(0)) {
      if (config.name != "max.message.bytes" || !config.value) continue;
      size_t most = 0;
      if (std::from_chars(config.value->data(), config.value->data() + config.value->size(), most).ec == std::errc() && most > 0) {
        command.options.batch_bytes = std::min(command.options.batch_bytes, most);
      }
    }
  } else if (configs.error().code == ErrorCode::kNetworkException || configs.error().code == ErrorCode::kRequestTimedOut) {
    return session.refused(configs.error());
  }
  auto producer = client::Producer::make(**cluster, session.random(), command.options);
  if (!producer) return session.refused(producer.error());
  int64_t start_ms = session.clock().monotonic_ms(), read = 0;
  take_stop_signals();  // what was read is sent before it ends
  auto done = run(command, **producer, read);
  double seconds = static_cast<double>(session.clock().monotonic_ms() - start_ms) / 1000;
  if (session.json) {
    Json summary{{"topic", command.topic}, {"read", read}, {"delivered", (*producer)->delivered_records()}, {"batches", (*producer)->delivered_batches()},
                 {"resent_batches", (*producer)->resent_batches()}, {"seconds", seconds}};
    fmt::print("{}\n", summary.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  if (!done) {
    Error error = done.error();
    error.what += fmt::format(" (delivered {} of {} records read)", (*producer)->delivered_records(), read);
    return session.refused(error);
  }
  return stop_signal() == 0 ? kDone : 128 + stop_signal();
}

}  // namespace

void add_produce(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<Command>();
  CLI::App* sub = app.add_subcommand("produce", "Send records from standard input: one a line, or --format");
  command->session.add_options(*sub);
  sub->add_option("TOPIC", command->topic, "Topic; it must be there")->required();
  sub->add_option("-K,--key-separator", command->key_separator, "What stands between key and value in a line; a line without it has no key");
  sub->add_option("-k,--key", command->key, "Key of every record that has none");
  sub->add_option("-H,--header", command->headers, "name=value, added to every record; may be given several times")->allow_extra_args(false);
  sub->add_option("-p,--partition", command->partition, "Partition (default: by key as Kafka's Java client, without a key in turns)")->check(CLI::NonNegativeNumber);
  static const std::map<std::string, record::Codec> kCodecs{{"none", record::Codec::kNone}, {"gzip", record::Codec::kGzip}, {"snappy", record::Codec::kSnappy},
                                                            {"lz4", record::Codec::kLz4}, {"zstd", record::Codec::kZstd}};
  sub->add_option("-z,--codec", command->options.codec, "none, gzip, snappy, lz4, zstd")->transform(CLI::CheckedTransformer(kCodecs));
  sub->add_option("-a,--acks", command->acks, "all, 1 or 0")->capture_default_str()->check(CLI::IsMember({"all", "-1", "1", "0"}));
  sub->add_flag("--no-idempotence", command->not_idempotent, "Without a producer id: a batch that is sent again may be there twice");
  static const std::map<std::string, Format> kFormats{{"lines", Format::kLines}, {"json-lines", Format::kJsonLines}, {"length-prefixed", Format::kLengthPrefixed}, {"whole", Format::kWhole}};
  sub->add_option("-f,--format", command->format, "lines, json-lines, length-prefixed (int32 big-endian before each value), whole (one record)")->transform(CLI::CheckedTransformer(kFormats));
  sub->add_flag("--json-lines", command->json_lines,
                "A JSON object a line: key, value, headers, partition, timestamp; key_base64 and value_base64 hold bytes. What `consume --json` writes");
  sub->add_option("--linger", command->options.linger_ms, "Milliseconds that a batch waits for more")->capture_default_str()->check(CLI::Range(0, 60000));
  sub->add_option("--batch-bytes", command->options.batch_bytes, "Most bytes of a batch before compression")->capture_default_str()->check(CLI::Range(1, 1 << 30));
  sub->add_option("--in-flight", command->options.max_in_flight, "Requests without an answer, per broker")->capture_default_str()->check(CLI::Range(1, 100));
  sub->footer("Examples:\n  echo hello | odradek produce greetings\n  odradek produce orders --key-separator : --codec zstd < orders.txt\n"
              "  odradek consume orders --exit-at-end --json | odradek produce copy --json-lines");
  sub->callback([command, &exit_code] { exit_code = produce(*command); });
}

}  // namespace odradek::cli
