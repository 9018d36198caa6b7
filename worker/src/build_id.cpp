#include "worker/src/build_id.h"

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstring>

namespace cppfcgi {
namespace {

using Image = std::span<const unsigned char>;

// A copy: nothing says that it is aligned. False: it is not all there.
template <class T>
bool read_at(Image image, std::size_t at, T& into) {
  if (at > image.size() || image.size() - at < sizeof into) return false;
  std::memcpy(&into, image.data() + at, sizeof into);
  return true;
}

constexpr std::size_t aligned(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

Image find_in_notes(Image notes) {
  ElfW(Nhdr) note{};
  for (std::size_t at = 0; read_at(notes, at, note);) {
    const std::size_t name = at + sizeof note;
    const std::size_t value = name + aligned(note.n_namesz);
    if (value > notes.size() || note.n_descsz > notes.size() - value) return {};
    const bool is_gnu = note.n_namesz == 4 && std::memcmp(notes.data() + name, "GNU", 4) == 0;
    if (is_gnu && note.n_type == NT_GNU_BUILD_ID) return notes.subspan(value, note.n_descsz);
    at = value + aligned(note.n_descsz);
  }
  return {};
}

}  // namespace

Image find_build_id(Image image) {
  ElfW(Ehdr) header{};
  if (!read_at(image, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return {};
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment{};
    if (!read_at(image, header.e_phoff + i * header.e_phentsize, segment)) return {};
    if (segment.p_type != PT_NOTE || segment.p_offset > image.size()) continue;
    if (segment.p_filesz > image.size() - segment.p_offset) continue;
    const Image id = find_in_notes(image.subspan(segment.p_offset, segment.p_filesz));
    if (!id.empty() && id.size() <= 64) return id;
  }
  return {};
}

}  // namespace cppfcgi
