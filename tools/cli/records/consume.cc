#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "base/text.h"
#include "cli/common/admin.h"
#include "cli/common/times.h"
#include "cli/records/commands.h"
#include "cli/records/input.h"
#include "cli/records/stop_signal.h"
#include "client/fetcher.h"
#include "client/group_member.h"
#include "client/offsets.h"

namespace odradek::cli {
namespace {

struct Command {
  Session session{"consume"};
  std::vector<std::string> topics;
  std::string from = "earliest", format = "%v\\n";
  std::vector<int32_t> partitions;
  int64_t max_records = -1;
  bool exit_at_end = false, read_committed = false, no_commit = false;
  std::string group, assignor = "range", instance_id;
};

struct Start {
  std::optional<int64_t> timestamp;  // of list_offsets
  Offset offset{0};
};

std::optional<Start> parse_start(const std::string& text) {
  if (text == "earliest") return Start{client::kEarliestTimestamp, {}};
  if (text == "latest") return Start{client::kLatestTimestamp, {}};
  if (auto moment = parse_datetime(text)) return Start{std::max<int64_t>(0, *moment), {}};  // below are Kafka's words for the end and the like
  bool timestamp = text.starts_with('@');
  int64_t number = 0;
  auto [end, error] = std::from_chars(text.data() + timestamp, text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return timestamp ? Start{number, {}} : Start{std::nullopt, {number}};
}

// A format string taken apart once: a character that stands for a part of the record, or literal text.
struct Piece {
  char escape = 0;
  std::string text;
};

std::optional<std::vector<Piece>> parse_format(const std::string& format, std::string& why) {
  std::vector<Piece> pieces(1);
  for (size_t i = 0; i < format.size(); ++i) {
    char c = format[i], next = i + 1 < format.size() ? format[i + 1] : '\0';
    if (c == '\\' && next != '\0') {
      ++i;
      if (next == 'x' && i + 2 < format.size()) {
        unsigned value = 0;
        if (std::from_chars(format.data() + i + 1, format.data() + i + 3, value, 16).ptr == format.data() + i + 3) {
          pieces.back().text += static_cast<char>(value);
          i += 2;
          continue;
        }
      }
      pieces.back().text += next == 'n' ? '\n' : next == 't' ? '\t' : next == 'r' ? '\r' : next == '0' ? '\0' : next;
    } else if (c == '%' && next == '%') {
      pieces.back().text += '%';
      ++i;
    } else if (c == '%') {
      if (next == '\0' || std::string_view("tpokvsKSRTh").find(next) == std::string_view::npos) {
        why = fmt::format("--format knows no %{}", next == '\0' ? ' ' : next);
        return std::nullopt;
      }
      pieces.push_back({next, {}});
      pieces.emplace_back();
      ++i;
    } else {
      pieces.back().text += c;
    }
  }
  return pieces;
}

std::string_view text_of(const std::optional<ByteView>& bytes) { return bytes ? as_text(*bytes) : std::string_view(); }

void append(std::string& out, const std::vector<Piece>& pieces, const TopicPartition& from, const record::RecordView& record) {
  for (const Piece& piece : pieces) {
    switch (piece.escape) {
      case 0: out += piece.text; break;
      case 't': out += from.topic; break;
      case 'p': out += std::to_string(from.partition); break;
      case 'o': out += std::to_string(record.offset.value); break;
      case 'k': out += text_of(record.key); break;
      case 'v':
      case 's': out += text_of(record.value); break;
      case 'K': out += std::to_string(record.key ? static_cast<int64_t>(record.key->size()) : -1); break;
      case 'S': out += std::to_string(record.value ? static_cast<int64_t>(record.value->size()) : -1); break;
      case 'R': {
        char size[4];
        base::store_be<int32_t>(size, record.value ? static_cast<int32_t>(record.value->size()) : -1);
        out.append(size, 4);
        break;
      }
      case 'T': out += std::to_string(record.timestamp); break;
      case 'h': {
        bool first = true;
        for (const auto& header : record.headers) {
          if (!std::exchange(first, false)) out += ',';
          out += header.key;
          out += '=';
          out += text_of(header.value);
        }
        break;
      }
      default: break;
    }
  }
}

// `name` with the text, or `name`_base64 where the bytes are no UTF-8.
void put(Json& json, const std::string& name, const std::optional<ByteView>& bytes) {
  if (!bytes) {
    json[name] = nullptr;
  } else if (base::is_utf8(as_text(*bytes))) {
    json[name] = as_text(*bytes);
  } else {
    json[name + "_base64"] = base::to_base64(as_text(*bytes));
  }
}

void append_json(std::string& out, const TopicPartition& from, const record::RecordView& record) {
  Json json{{"topic", from.topic}, {"partition", from.partition}, {"offset", record.offset.value}, {"timestamp", record.timestamp}};
  put(json, "key", record.key);
  put(json, "value", record.value);
  Json headers = Json::array();
  for (const auto& header : record.headers) {
    Json one{{"name", header.key}};
    put(one, "value", header.value);
    headers.push_back(std::move(one));
  }
  json["headers"] = std::move(headers);
  out += json.dump(-1, ' ', false, Json::error_handler_t::replace);
  out += '\n';
}

Result<std::vector<TopicPartition>> all_partitions(client::Cluster& cluster, const Command& command) {
  std::vector<TopicPartition> result;
  for (const std::string& topic : command.topics) {
    if (auto leader = cluster.leader({topic, 0}); !leader && leader.error().code == ErrorCode::kUnknownTopicOrPartition) return fail(std::move(leader.error()));
    auto metadata = cluster.metadata({{topic}});
    if (!metadata) return fail(std::move(metadata.error()));
    int32_t count = 0;
    for (const auto& each : metadata->topics) {
      if (each.error_code != 0) return fail(code_of(each.error_code), "topic " + topic);
      count = static_cast<int32_t>(each.partitions.size());
    }
    for (int32_t partition : command.partitions) {
      if (partition >= count) return fail(ErrorCode::kUnknownTopicOrPartition, fmt::format("topic {} has {} partitions", topic, count));
      result.push_back({topic, partition});
    }
    for (int32_t partition = 0; command.partitions.empty() && partition < count; ++partition) result.push_back({topic, partition});
  }
  return result;
}

Result<std::map<TopicPartition, Offset>> offsets_at(client::Cluster& cluster, const std::vector<TopicPartition>& partitions, int64_t timestamp, IsolationLevel isolation) {
  std::map<TopicPartition, int64_t> asked;
  for (const TopicPartition& partition : partitions) asked[partition] = timestamp;
  auto listed = client::list_offsets(cluster, asked, isolation);
  if (!listed) return fail(std::move(listed.error()));
  std::map<TopicPartition, Offset> result;
  std::vector<TopicPartition> young;
  for (const auto& [partition, each] : *listed) {
    if (each.error != ErrorCode::kNone) return fail(each.error, partition.to_string());
    result[partition] = each.offset;
    if (each.offset.value < 0) young.push_back(partition);  // no record is that young: the end
  }
  if (young.empty()) return result;
  auto ends = offsets_at(cluster, young, client::kLatestTimestamp, isolation);
  if (!ends) return ends;
  for (const auto& [partition, offset] : *ends) result[partition] = offset;
  return result;
}

// Records on their way to standard output, and when it is enough.
class Output {
 public:
  Output(const Command& command, std::vector<Piece> pieces) : command_(command), pieces_(std::move(pieces)) {}
  // False: nothing more is wanted.
  bool put(const TopicPartition& from, const record::RecordView& record) {
    if (command_.session.json) {
      append_json(out_, from, record);
    } else {
      append(out_, pieces_, from, record);
    }
    if (out_.size() > 1 << 16) write();
    ++count_;
    return !full();
  }
  void flush() {
    write();
    if (std::fflush(stdout) != 0 && error_ == 0) error_ = errno;
  }
  // errno of the first write that failed; 0: none. EPIPE: the reader went away.
  int error() const { return error_; }
  bool full() const { return stop_signal() != 0 || error_ != 0 || (command_.max_records >= 0 && count_ >= command_.max_records); }

 private:
  void write() {
    if (std::fwrite(out_.data(), 1, out_.size(), stdout) != out_.size() && error_ == 0) error_ = errno;
    out_.clear();
  }
  const Command& command_;
  const std::vector<Piece> pieces_;
  std::string out_;
  int64_t count_ = 0;
  int error_ = 0;
};

IsolationLevel isolation_of(const Command& command) { return command.read_committed ? IsolationLevel::kReadCommitted : IsolationLevel::kReadUncommitted; }

bool at_end(const client::Fetcher& fetcher, const std::map<TopicPartition, Offset>& ends) {
  for (const auto& [partition, end] : ends) {
    if (fetcher.position(partition) < end) return false;
  }
  return true;
}

Result<void> consume_alone(Command& command, client::Cluster& cluster, const Start& start, Output& output) {
  IsolationLevel isolation = isolation_of(command);
  auto partitions = all_partitions(cluster, command);
  if (!partitions) return fail(std::move(partitions.error()));
  auto ends = offsets_at(cluster, *partitions, client::kLatestTimestamp, isolation);
  if (!ends) return fail(std::move(ends.error()));
  auto starts = start.timestamp ? offsets_at(cluster, *partitions, *start.timestamp, isolation) : ends;
  if (!starts) return fail(std::move(starts.error()));
  client::Fetcher fetcher(cluster, {.isolation = isolation, .reset = std::nullopt});
  for (const TopicPartition& partition : *partitions) fetcher.add(partition, start.timestamp ? starts->at(partition) : start.offset);
  while (!output.full() && !(command.exit_at_end && at_end(fetcher, *ends))) {
    auto polled = fetcher.poll([&](const TopicPartition& from, const record::RecordView& record) {
      if (command.exit_at_end && record.offset >= ends->at(from)) return true;  // the end is that of the start of the command
      return output.put(from, record);
    });
    output.flush();
    if (!polled) return polled;
  }
  return {};
}

Result<void> consume_in_group(Command& command, client::Cluster& cluster, const Start& start, Output& output) {
  constexpr int64_t kCommitEveryMs = 5'000;
  IsolationLevel isolation = isolation_of(command);
  client::Fetcher fetcher(cluster, {.isolation = isolation, .reset = start.timestamp});
  std::map<TopicPartition, Offset> ends, committed;
  client::GroupMember* member = nullptr;
  auto commit = [&]() -> Result<void> {
    output.flush();
    if (command.no_commit || output.error() != 0) return {};  // what could not be written comes again
    std::map<TopicPartition, Offset> offsets;
    for (const auto& [partition, offset] : committed) {
      if (fetcher.position(partition) > offset) offsets[partition] = fetcher.position(partition);
    }
    auto done = member->commit(offsets);
    if (done) {
      for (const auto& [partition, offset] : offsets) committed[partition] = offset;
    }
    return done;
  };
  client::GroupListener listener;
  listener.on_revoked = [&](const std::vector<TopicPartition>& partitions, bool lost) {
    // If the commit fails here, the next owner starts at the former one: records come twice, none is lost.
    if (!lost) (void)commit();
    for (const TopicPartition& partition : partitions) {
      fetcher.remove(partition);
      ends.erase(partition);
      committed.erase(partition);
    }
  };
  listener.on_assigned = [&](const std::vector<TopicPartition>& partitions) -> Result<void> {
    auto known = member->committed(partitions);
    if (!known) return fail(std::move(known.error()));
    auto first = offsets_at(cluster, partitions, start.timestamp.value_or(client::kEarliestTimestamp), isolation);
    if (!first) return fail(std::move(first.error()));
    auto last = offsets_at(cluster, partitions, client::kLatestTimestamp, isolation);
    if (!last) return fail(std::move(last.error()));
    for (const TopicPartition& partition : partitions) {
      Offset from = known->at(partition).value >= 0 ? known->at(partition) : start.timestamp ? first->at(partition) : start.offset;
      fetcher.add(partition, from);
      committed[partition] = known->at(partition).value >= 0 ? from : Offset{-1};
      ends[partition] = last->at(partition);
    }
    return {};
  };
  client::GroupMemberOptions options{.group = command.group, .topics = command.topics, .instance_id = std::nullopt, .cooperative = command.assignor == "cooperative"};
  if (!command.instance_id.empty()) options.instance_id = command.instance_id;
  auto made = client::GroupMember::make(command.session.dialer(), command.session.random(), command.session.cluster_options(), options, listener);
  if (!made) return fail(std::move(made.error()));
  member = made->get();
  if (auto partitions = all_partitions(cluster, command); !partitions) return fail(std::move(partitions.error()));
  Result<void> result;
  int64_t committed_ms = command.session.clock().monotonic_ms();
  while (result && !output.full()) {
    result = member->work();
    if (!result || (command.exit_at_end && at_end(fetcher, ends))) break;
    result = fetcher.poll([&](const TopicPartition& from, const record::RecordView& record) { return output.put(from, record); });
    output.flush();
    if (int64_t now = command.session.clock().monotonic_ms(); now - committed_ms >= kCommitEveryMs) {
      committed_ms = now;
      (void)commit();  // refused during a rebalance: the next one, or the one at the end, has more
    }
  }
  Result<void> last = result ? commit() : Result<void>{};
  Result<void> left = member->leave();
  return !result ? result : !last ? last : left;
}

int consume(Command& command) {
  Session& session = command.session;
  auto start = parse_start(command.from);
  if (!start) return session.wrong("--from wants earliest, latest, an offset, @milliseconds or 2026-11-23T04:30:00Z");
  std::string why;
  auto pieces = parse_format(command.format, why);
  if (!pieces) return session.wrong(why);
  if (!command.group.empty() && !command.partitions.empty()) return session.wrong("--group shares partitions out itself, --partition does not go with it");
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  take_stop_signals();
  Output output(command, std::move(*pieces));
  auto done = command.group.empty() ? consume_alone(command, **cluster, *start, output) : consume_in_group(command, **cluster, *start, output);
  output.flush();
  if (!done) return session.refused(done.error());
  if (output.error() == 0 || output.error() == EPIPE) return kDone;
  fmt::print(stderr, "odradek consume: standard output: {}\n", std::strerror(output.error()));
  return kRefused;
}

}  // namespace

void add_consume(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<Command>();
  CLI::App* sub = app.add_subcommand("consume", "Write records to standard output, one a line, until interrupted");
  command->session.add_options(*sub);
  sub->add_option("TOPIC", command->topics, "Topics")->required();
  sub->add_option("-o,--from", command->from, "earliest, latest, an offset, @milliseconds since 1970, or a moment as 2026-11-23T04:30:00Z")->capture_default_str();
  sub->add_option("-p,--partition", command->partitions, "Only this partition; may be given several times")->allow_extra_args(false)->check(CLI::NonNegativeNumber);
  sub->add_option("-n,--max-records", command->max_records, "End after so many records")->check(CLI::NonNegativeNumber);
  sub->add_flag("-e,--exit-at-end", command->exit_at_end, "End at the ends that the partitions have now");
  sub->add_option("-f,--format", command->format, "%t topic, %p partition, %o offset, %k key, %v value, %T timestamp, %h headers, %K and %S sizes of key and "
                                                  "value (-1: null), %R size of the value as int32 big-endian, %% a percent sign, \\n \\t \\x00")->capture_default_str();
  sub->add_flag("--read-committed", command->read_committed, "Without records of open and aborted transactions");
  sub->add_option("-G,--group", command->group, "As a member of this group: it goes on at the group's commits (--from: where there is none) and commits");
  sub->add_option("--assignor", command->assignor, "How the group shares partitions out: range, or cooperative (cooperative-sticky)")->capture_default_str()->check(CLI::IsMember({"range", "cooperative"}));
  sub->add_option("--instance-id", command->instance_id, "Static member of the group: it comes back to its partitions");
  sub->add_flag("--no-commit", command->no_commit, "Read with a group, commit nothing");
  sub->footer("With --json each line is an object; bytes that are no UTF-8 stand in key_base64 and value_base64 instead of key and value.\n"
              "Examples:\n  odradek consume greetings --exit-at-end\n  odradek consume orders --from 2026-11-23T04:00:00Z --format '%p/%o %k=%v\\n'\n"
              "  odradek consume orders --max-records 10 --json\n"
              "  odradek consume orders --group billing");
  sub->callback([command, &exit_code] { exit_code = consume(*command); });
}

}  // namespace odradek::cli
