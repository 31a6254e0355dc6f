//! Large pages of memory for large tables.

/// So many values, in huge pages where there are any.
pub(super) fn table<T>(length: usize, values: impl Iterator<Item = T>) -> Vec<T> {
    let mut table = Vec::with_capacity(length);
    huge(&mut table);
    table.extend(values);
    table
}

/// Asks the system to put the vector's memory, before anything is written to it, into huge pages where it has whole
/// ones. A step reads rows from anywhere in a table, and with pages of 4 KiB each row costs a search of the page tables
/// as well. Where that is the system's habit anyway, or it has no such pages, nothing changes.
pub(super) fn huge<T>(memory: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let from = memory.as_mut_ptr();
        let first = from.wrapping_byte_add(from.addr().wrapping_neg() % PAGE);
        let end = from.wrapping_add(memory.capacity());
        let whole = end.addr().saturating_sub(first.addr()) / PAGE * PAGE;
        if whole > 0 {
            // SAFETY: whole pages within memory that the vector owns, whose content the advice does not change. That it
            // is not followed is no error.
            let _ = unsafe { rustix::mm::madvise(first.cast(), whole, rustix::mm::Advice::LinuxHugepage) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_large_table_may_lie_in_huge_pages() {
        let mut table = vec![0u8; 9 << 20];
        super::huge(&mut table);
        table.fill(7);
        let middle = table.as_ptr().addr() + table.len() / 2;
        let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
            eprintln!("SKIPPED: this system does not say how memory is mapped");
            return;
        };
        let mut here = false;
        let flags = maps.lines().find_map(|line| {
            if let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-'))
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                here = (from..to).contains(&middle);
            }
            line.strip_prefix("VmFlags:").filter(|_| here)
        });
        // A kernel without huge pages refuses the advice.
        let refused = !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        assert!(refused || flags.unwrap().split(' ').any(|flag| flag == "hg"), "{flags:?}");
        assert!(table.iter().all(|&byte| byte == 7));
        super::huge(&mut Vec::<u64>::new());
    }
}
