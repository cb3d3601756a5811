#include "sim/model.h"

#include <algorithm>
#include <charconv>

#include "record/batch.h"
#include "record/record.h"

namespace odradek::sim {

TopicModel* Model::find(const std::string& topic) {
  auto found = topics.find(topic);
  return found == topics.end() ? nullptr : &found->second;
}

PartitionModel* Model::find(const std::string& topic, int32_t partition) {
  TopicModel* model = find(topic);
  if (model == nullptr || model->dying || partition < 0 || static_cast<size_t>(partition) >= model->partitions.size()) return nullptr;
  return &model->partitions[static_cast<size_t>(partition)];
}

TopicModel* Model::any_topic() {
  std::vector<TopicModel*> living;
  for (auto& [name, topic] : topics) {
    if (!topic.dying) living.push_back(&topic);
  }
  return living.empty() ? nullptr : living[world_.random.below(living.size())];
}

// "<stream>/<number>/xxxx"
std::string Model::text_of(const RecordName& name, size_t padding) {
  return name.stream + "/" + std::to_string(name.number) + "/" + std::string(padding, static_cast<char>('a' + name.number % 26));
}

bool Model::parse(std::string_view text, RecordName& name) {
  size_t first = text.find('/');
  size_t second = first == std::string_view::npos ? first : text.find('/', first + 1);
  if (second == std::string_view::npos) return false;
  name.stream = std::string(text.substr(0, first));
  return std::from_chars(text.data() + first + 1, text.data() + second, name.number).ec == std::errc();
}

void Model::on_sent(const std::string& topic, int32_t partition, const std::string& text) {
  if (PartitionModel* model = find(topic, partition)) model->sent.insert(text);
}

bool Model::learn(const std::string& topic, int32_t partition, PartitionModel& model, int64_t offset, const std::string& text, const char* how) {
  auto known = model.known.find(offset);
  if (known != model.known.end()) {
    if (known->second.text == text) return true;
    world_.violation(fmt::format("{}-{} offset {}: {} '{:.40}', but before it was '{:.40}'", topic, partition, offset, how, text, known->second.text));
    return false;
  }
  auto [place, is_new] = model.offset_of.emplace(text, offset);
  if (!is_new) {
    world_.violation(fmt::format("{}-{}: '{:.40}' {} at offset {} and at {}", topic, partition, text, how, place->second, offset));
    return false;
  }
  model.known.emplace(offset, PartitionModel::Entry{text, world_.now_ns()});
  return true;
}

void Model::on_acked(const std::string& topic, int32_t partition, int64_t base_offset, const std::vector<std::string>& texts,
                     bool flush_due, bool flushed) {
  PartitionModel* model = find(topic, partition);
  if (model == nullptr || base_offset < 0) return;
  acked += static_cast<int64_t>(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!learn(topic, partition, *model, base_offset + static_cast<int64_t>(i), texts[i], "acknowledged")) return;
  }
  if (flushed) model->flushed_acked = std::max(model->flushed_acked, base_offset + static_cast<int64_t>(texts.size()));
  if (flush_due) model->flush_due = std::max(model->flush_due, base_offset + static_cast<int64_t>(texts.size()));
}

void Model::on_seen(const std::string& topic, int32_t partition, int64_t offset, std::string_view text) {
  PartitionModel* model = find(topic, partition);
  if (model == nullptr) return;
  ++seen;
  std::string owned(text);
  if (!model->sent.contains(owned)) {
    return world_.violation(fmt::format("{}-{} offset {}: '{:.40}' that nobody wrote there", topic, partition, offset, owned));
  }
  learn(topic, partition, *model, offset, owned, "read");
}

Model::Bounds Model::bounds(const TopicPartition& tp) {
  PartitionModel* model = find(tp.topic, tp.partition);
  return model == nullptr ? Bounds{} : Bounds{model->served_start, model->served_high_watermark, restarts_};
}

void Model::on_bounds(const TopicPartition& tp, Bounds said, Bounds known_then, const char* where) {
  PartitionModel* model = find(tp.topic, tp.partition);
  if (model == nullptr) return;
  auto check = [&](const char* what, int64_t now, int64_t then, int64_t& served) {
    if (now < 0) return;
    if (now < then) world_.violation(fmt::format("{}: the {} goes back from {} to {} ({})", tp.to_string(), what, then, now, where));
    served = std::max(served, now);
  };
  check("high watermark", said.high_watermark, known_then.high_watermark, model->served_high_watermark);
  if (known_then.life == restarts_) check("log start", said.start, known_then.start, model->served_start);
}

int64_t Model::on_fetched(const std::string& topic, int32_t partition, int64_t position, ByteView records, const std::string& who) {
  record::Decompressor decompressor;
  bool first = true;
  for (;;) {
    auto batch = record::next_batch(records);
    if (!batch) {
      world_.violation(fmt::format("{}: {}-{} at {}: {}", who, topic, partition, position, batch.error().what));
      return position;
    }
    if (!*batch) break;
    if (!batch->crc_matches()) {
      world_.violation(fmt::format("{}: {}-{} at {}: the CRC does not match", who, topic, partition, batch->base_offset().value));
      return position;
    }
    if (first ? batch->base_offset().value > position || batch->last_offset().value < position : batch->base_offset().value != position) {
      world_.violation(fmt::format("{}: {}-{}: asked for {}, got batch {}..{}", who, topic, partition, position, batch->base_offset().value,
                                   batch->last_offset().value));
      return position;
    }
    first = false;
    auto reader = record::RecordReader::open(*batch, decompressor);
    if (!reader) {
      world_.violation(fmt::format("{}: {}-{} at {}: {}", who, topic, partition, batch->base_offset().value, reader.error().what));
      return position;
    }
    int64_t offset = batch->base_offset().value;
    record::RecordView record;
    for (;; ++offset) {
      auto more = reader->next(record);
      if (!more) {
        world_.violation(fmt::format("{}: {}-{} at {}: {}", who, topic, partition, offset, more.error().what));
        return position;
      }
      if (!*more) break;
      if (record.offset.value != offset) {
        world_.violation(fmt::format("{}: {}-{}: offset {} where {} is next", who, topic, partition, record.offset.value, offset));
        return position;
      }
      on_seen(topic, partition, offset, record.value ? as_text(*record.value) : std::string_view());
    }
    if (offset != batch->next_offset().value) {
      world_.violation(fmt::format("{}: {}-{}: a hole at offset {}", who, topic, partition, offset));
    }
    position = offset;
  }
  return position;
}

int32_t Model::on_commit_sent(const std::string& group, const TopicPartition& tp, int64_t offset) {
  commits_[{group, tp}].unanswered.insert(offset);
  return generation_of_commit_[group];
}

void Model::on_commit_acked(const std::string& group, const TopicPartition& tp, int64_t offset, int32_t generation, int32_t newest_then) {
  ++commits;
  if (generation < newest_then) {
    world_.violation(fmt::format("group {}: a commit of generation {} was taken after one of generation {}", group, generation, newest_then));
  }
  int32_t& newest = generation_of_commit_[group];
  newest = std::max(newest, generation);
  Commits& known = commits_[{group, tp}];
  known.acked = std::max(known.acked, offset);
}

void Model::on_commit_fetched(const std::string& group, const TopicPartition& tp, int64_t offset, int64_t committed_then) {
  if (offset >= committed_then || commits_[{group, tp}].unanswered.contains(offset)) return;
  world_.violation(fmt::format("group {}: the committed offset of {} goes back from {} to {}", group, tp.to_string(), committed_then, offset));
}

void Model::on_assigned(const std::string& group, int32_t generation, const std::string& member, const std::vector<TopicPartition>& partitions) {
  ++assignments;
  auto& owners = owners_[{group + "#" + std::to_string(generations_began_), generation}];
  for (const TopicPartition& tp : partitions) {
    auto [owner, is_new] = owners.emplace(tp, member);
    if (!is_new && owner->second != member) {
      world_.violation(fmt::format("group {} generation {}: {} belongs to {} and to {}", group, generation, tp.to_string(), owner->second, member));
    }
  }
}

void Model::on_restart() {
  ++restarts_;
  for (auto& [name, topic] : topics) {
    for (PartitionModel& partition : topic.partitions) {
      partition.served_start = 0;
      partition.flush_due = 0;
    }
  }
}

void Model::on_power_cut(const std::map<TopicPartition, int64_t>& durable) {
  ++power_cuts;
  ++generations_began_;
  for (auto& [name, topic] : topics) {
    for (size_t p = 0; p < topic.partitions.size(); ++p) {
      PartitionModel& model = topic.partitions[p];
      auto found = durable.find({name, static_cast<int32_t>(p)});
      int64_t kept = std::max(found == durable.end() ? 0 : found->second, model.flushed_acked);
      while (!model.known.empty() && model.known.rbegin()->first >= kept) {
        model.offset_of.erase(model.known.rbegin()->second.text);
        model.known.erase(std::prev(model.known.end()));
      }
      model.served_high_watermark = std::min(model.served_high_watermark, kept);
      model.served_start = std::min(model.served_start, kept);
    }
  }
  // Nothing else flushes the groups' topic at once: generations and commits may go back.
  if (!flush_before_ack) commits_.clear();
  generation_of_commit_.clear();
}

}  // namespace odradek::sim
