#include "metrics/registry.h"

#include <charconv>
#include <cmath>
#include <list>
#include <map>
#include <optional>
#include <utility>

#include "base/check.h"

namespace odradek::metrics {
namespace {

using Labels = std::vector<std::string>;

Labels to_labels(LabelValues values) {
  Labels labels;
  labels.reserve(values.size());
  for (std::string_view value : values) labels.emplace_back(value);
  return labels;
}

std::vector<std::string> split(std::string_view names) {
  std::vector<std::string> out;
  while (!names.empty()) {
    size_t comma = names.find(',');
    out.emplace_back(names.substr(0, comma));
    if (comma == names.npos) break;
    names.remove_prefix(comma + 1);
  }
  return out;
}

void append_escaped(std::string& out, std::string_view text) {
  for (char c : text) {
    if (c == '\\' || c == '"') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

void append_number(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else {
    char buffer[32];
    out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
  }
}
void append_number(std::string& out, int64_t value) {
  char buffer[24];
  out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}
void append_number(std::string& out, uint64_t value) {
  char buffer[24];
  out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

// The lines of one metric while the text is written.
class Lines final : public SampleSink {
 public:
  explicit Lines(const MetricDef& def) : def_(def) {
    for (const std::string& name : split(def.labels)) openings_.push_back(name + "=\"");
  }

  void add(LabelValues labels, double value) override { write(labels, value * def_.scale); }
  void add(LabelValues labels, int64_t value) override {
    if (def_.scale == 1) {
      write(labels, value);
    } else {
      write(labels, static_cast<double>(value) * def_.scale);
    }
  }
  template <class Range, class Number>
  void write(const Range& labels, Number value) {
    begin("", labels, {});
    append_number(text_, value);
    text_ += '\n';
  }
  // `name<suffix>{labels,quantile="..."} `, ready for the number.
  template <class Range>
  void begin(std::string_view suffix, const Range& labels, std::string_view quantile) {
    CHECK(std::size(labels) == 0 || std::size(labels) == openings_.size());
    text_ += def_.name;
    text_ += suffix;
    char separator = '{';
    size_t i = 0;
    for (const auto& value : labels) {
      text_ += separator;
      text_ += openings_[i++];
      append_escaped(text_, value);
      text_ += '"';
      separator = ',';
    }
    if (!quantile.empty()) {
      text_ += separator;
      text_ += "quantile=\"";
      text_ += quantile;
      text_ += '"';
      separator = ',';
    }
    if (separator == ',') text_ += '}';
    text_ += ' ';
  }
  std::string& text() { return text_; }

 private:
  const MetricDef& def_;
  std::vector<std::string> openings_;
  std::string text_;
};

// Quantiles are those of the records since `older_`, which is one to two minutes ago while someone asks regularly.
struct WindowedHistogram {
  static constexpr int64_t kStepNs = 60'000'000'000;

  std::shared_ptr<Histogram> histogram = std::make_shared<Histogram>();
  std::unique_ptr<Histogram::Counts> older, newer;  // made when first asked
  int64_t newer_at_ns = 0;

  HistogramWindow window(int64_t now_ns) {
    Histogram::Counts now;
    histogram->read(now);
    if (!newer) {
      older = std::make_unique<Histogram::Counts>();
      newer = std::make_unique<Histogram::Counts>(now);
      newer_at_ns = now_ns;
    } else if (now_ns - newer_at_ns >= kStepNs) {
      std::swap(older, newer);
      *newer = now;
      newer_at_ns = now_ns;
    }
    return HistogramWindow::between(*older, now);
  }
};

struct Quantile {
  std::string_view label;
  double q;
};
// As the JMX exporter's usual rules print Kafka's percentiles.
constexpr Quantile kQuantiles[] = {{"0.50", 0.5}, {"0.75", 0.75}, {"0.95", 0.95}, {"0.98", 0.98}, {"0.99", 0.99}, {"0.999", 0.999}};

}  // namespace

Registration& Registration::operator=(Registration&& other) noexcept {
  if (this != &other) {
    reset();
    release_ = std::move(other.release_);
    other.release_ = nullptr;
  }
  return *this;
}

void Registration::reset() {
  if (auto release = std::exchange(release_, nullptr)) release();
}

struct Registry::Impl {
  struct Callback {
    Labels labels;
    std::function<double()> value;
  };
  struct Family {
    const MetricDef* def = nullptr;
    std::map<Labels, std::shared_ptr<Counter>> counters;
    std::map<Labels, std::shared_ptr<Gauge>> gauges;
    std::map<Labels, WindowedHistogram> histograms;
    std::list<Callback> callbacks;
  };
  struct Collector {
    std::vector<size_t> families;
    std::function<void(std::vector<SampleSink*>&)> collect;
  };

  explicit Impl(base::Clock& clock) : clock_(clock) {
    for (const MetricDef* def : catalog()) families_.push_back({def, {}, {}, {}, {}});
  }

  size_t index_of(const MetricDef& def) const {
    for (size_t i = 0; i < families_.size(); ++i) {
      if (families_[i].def == &def) return i;
    }
    CHECK(false);  // the row is missing in catalog.cc
  }
  // The family, once the labels are known to fit.
  Family& family(const MetricDef& def, LabelValues labels) REQUIRES(mutex_) {
    CHECK(labels.size() == 0 || labels.size() == split(def.labels).size());
    return families_[index_of(def)];
  }

  void write_family(Family& family, Lines& lines) REQUIRES(mutex_) {
    const MetricDef& def = *family.def;
    for (const auto& [labels, counter] : family.counters) {
      if (def.scale == 1) {
        lines.write(labels, counter->value());
      } else {
        lines.write(labels, static_cast<double>(counter->value()) * def.scale);
      }
    }
    for (const auto& [labels, gauge] : family.gauges) {
      if (def.scale == 1) {
        lines.write(labels, gauge->value());
      } else {
        lines.write(labels, static_cast<double>(gauge->value()) * def.scale);
      }
    }
    for (auto& [labels, windowed] : family.histograms) {
      HistogramWindow window = windowed.window(clock_.monotonic_ns());
      bool empty = window.percentile(1) == 0 && window.counts[0] == 0;
      for (const Quantile& quantile : kQuantiles) {
        lines.begin("", labels, quantile.label);
        append_number(lines.text(), empty ? std::nan("") : static_cast<double>(window.percentile(quantile.q)) * def.scale);
        lines.text() += '\n';
      }
      lines.begin("_sum", labels, {});
      append_number(lines.text(), static_cast<double>(windowed.histogram->sum()) * def.scale);
      lines.text() += '\n';
      lines.begin("_count", labels, {});
      append_number(lines.text(), windowed.histogram->count());
      lines.text() += '\n';
    }
    for (const Callback& callback : family.callbacks) lines.write(callback.labels, callback.value() * def.scale);
  }

  void take_removals() REQUIRES(mutex_) {
    std::vector<std::pair<const MetricDef*, Labels>> removed;
    {
      base::MutexLock lock(removed_mutex_);
      removed.swap(removed_);
    }
    for (const auto& [def, labels] : removed) {
      Family& family = families_[index_of(*def)];
      family.counters.erase(labels);
      family.gauges.erase(labels);
      family.histograms.erase(labels);
    }
  }

  base::Clock& clock_;
  base::Mutex removed_mutex_;  // taken after mutex_
  std::vector<std::pair<const MetricDef*, Labels>> removed_ GUARDED_BY(removed_mutex_);
  base::Mutex mutex_;
  std::vector<Family> families_ GUARDED_BY(mutex_);  // in the order of the catalog; the vector itself never changes
  std::list<Collector> collectors_ GUARDED_BY(mutex_);
  size_t last_size_ GUARDED_BY(mutex_) = 0;
};

Registry::Registry(base::Clock& clock) : impl_(std::make_unique<Impl>(clock)) {}
Registry::~Registry() = default;

std::shared_ptr<Counter> Registry::counter(const MetricDef& def, LabelValues labels) {
  CHECK(def.kind == Kind::kCounter);
  base::MutexLock lock(impl_->mutex_);
  impl_->take_removals();
  auto& slot = impl_->family(def, labels).counters[to_labels(labels)];
  if (!slot) slot = std::make_shared<Counter>();
  return slot;
}

std::shared_ptr<Gauge> Registry::gauge(const MetricDef& def, LabelValues labels) {
  CHECK(def.kind == Kind::kGauge || def.kind == Kind::kUntyped);
  base::MutexLock lock(impl_->mutex_);
  impl_->take_removals();
  auto& slot = impl_->family(def, labels).gauges[to_labels(labels)];
  if (!slot) slot = std::make_shared<Gauge>();
  return slot;
}

std::shared_ptr<Histogram> Registry::histogram(const MetricDef& def, LabelValues labels) {
  CHECK(def.kind == Kind::kHistogram);
  base::MutexLock lock(impl_->mutex_);
  impl_->take_removals();
  return impl_->family(def, labels).histograms[to_labels(labels)].histogram;
}

// Only noted: a collector that runs now may hold the last reference to what removes its metrics when it ends.
void Registry::remove(const MetricDef& def, LabelValues labels) {
  base::MutexLock lock(impl_->removed_mutex_);
  impl_->removed_.emplace_back(&def, to_labels(labels));
}

Registration Registry::callback(const MetricDef& def, LabelValues labels, std::function<double()> value) {
  CHECK(def.kind != Kind::kHistogram);
  Impl* impl = impl_.get();
  base::MutexLock lock(impl->mutex_);
  Impl::Family& family = impl->family(def, labels);
  auto at = family.callbacks.insert(family.callbacks.end(), {to_labels(labels), std::move(value)});
  return Registration([impl, &family, at] {
    base::MutexLock relock(impl->mutex_);
    family.callbacks.erase(at);
  });
}

Registration Registry::collector(const MetricDef& def, std::function<void(SampleSink&)> collect) {
  return collector(std::vector<const MetricDef*>{&def}, [collect = std::move(collect)](std::vector<SampleSink*>& sinks) { collect(*sinks[0]); });
}

Registration Registry::collector(std::vector<const MetricDef*> defs, std::function<void(std::vector<SampleSink*>&)> collect) {
  Impl* impl = impl_.get();
  base::MutexLock lock(impl->mutex_);
  Impl::Collector collector{{}, std::move(collect)};
  for (const MetricDef* def : defs) {
    CHECK(def->kind != Kind::kHistogram);
    collector.families.push_back(impl->index_of(*def));
  }
  auto at = impl->collectors_.insert(impl->collectors_.end(), std::move(collector));
  return Registration([impl, at] {
    base::MutexLock relock(impl->mutex_);
    impl->collectors_.erase(at);
  });
}

std::string Registry::prometheus_text() {
  base::MutexLock lock(impl_->mutex_);
  impl_->take_removals();
  std::vector<Lines> lines;
  lines.reserve(impl_->families_.size());
  for (Impl::Family& family : impl_->families_) {
    lines.emplace_back(*family.def);
    impl_->write_family(family, lines.back());
  }
  for (const Impl::Collector& collector : impl_->collectors_) {
    std::vector<SampleSink*> sinks;
    for (size_t index : collector.families) sinks.push_back(&lines[index]);
    collector.collect(sinks);
  }
  std::string out;
  out.reserve(impl_->last_size_ + impl_->last_size_ / 8 + 4096);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].text().empty()) continue;
    const MetricDef& def = *impl_->families_[i].def;
    constexpr std::string_view kTypes[] = {"counter", "gauge", "untyped", "summary"};
    out += "# HELP ";
    out += def.name;
    out += ' ';
    out += def.help;
    out += "\n# TYPE ";
    out += def.name;
    out += ' ';
    out += kTypes[static_cast<size_t>(def.kind)];
    out += '\n';
    out += lines[i].text();
  }
  impl_->last_size_ = out.size();
  return out;
}

}  // namespace odradek::metrics
