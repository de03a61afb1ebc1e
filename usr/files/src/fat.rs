//! The file allocation table itself (Microsoft FAT specification 1.03), of FAT16 and FAT32.

use embedded_sdmmc::{Block, BlockDevice, BlockIdx};

/// Why the table can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FatError<E> {
    /// The device failed.
    Device(E),
    /// The boot sector or the table contradicts itself.
    Malformed,
}

impl<E> From<E> for FatError<E> {
    fn from(error: E) -> Self {
        Self::Device(error)
    }
}

/// Bits of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Width {
    Fat16,
    Fat32,
}

/// Where the tables of a volume are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Block of the first table.
    first: u32,
    /// Blocks of each.
    blocks: u32,
    /// How many copies there are.
    copies: u32,
    width: Width,
    /// FAT32's sector with hints.
    info: Option<u32>,
    /// The first cluster of FAT32's top folder; FAT16's has none.
    top: Option<u32>,
    /// The first block behind the clusters.
    end: u64,
    /// Clusters of data; their numbers begin with 2.
    clusters: u32,
    cluster_bytes: u32,
}

/// How a chain of clusters goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chain {
    /// It has so many clusters.
    Ends(u32),
    /// It has more than were followed.
    GoesOn,
}

/// Bytes that a folder may have (section 6.1: 65,536 entries of 32 bytes).
const MOST_FOLDER_BYTES: u32 = 65_536 * 32;

fn u16_at(block: &Block, at: usize) -> u32 {
    u32::from(u16::from_le_bytes([block[at], block[at + 1]]))
}

fn u32_at(block: &Block, at: usize) -> u32 {
    u16_at(block, at) | u16_at(block, at + 2) << 16
}

fn read<D: BlockDevice>(device: &D, block: u32) -> Result<Block, D::Error> {
    let mut blocks = [Block::new()];
    device.read(&mut blocks, BlockIdx(block))?;
    let [block] = blocks;
    Ok(block)
}

/// The first block and the blocks of partition `number`, from 0, of a disk with an MBR.
///
/// # Errors
/// [`FatError::Malformed`] when there is no MBR.
pub fn partition<D: BlockDevice>(
    device: &D,
    number: usize,
) -> Result<Option<(u32, u32)>, FatError<D::Error>> {
    const ENTRIES: usize = 446;
    let block = read(device, 0)?;
    if u16_at(&block, 510) != 0xaa55 || number > 3 {
        return Err(FatError::Malformed);
    }
    let at = ENTRIES + 16 * number;
    // FAT16 below and above 32 MiB, FAT32, and the latter two by block numbers.
    let is_fat = [0x04, 0x06, 0x0b, 0x0c, 0x0e].contains(&block[at + 4]);
    Ok(is_fat.then(|| (u32_at(&block, at + 8), u32_at(&block, at + 12))))
}

impl Table {
    /// Reads where the tables of the volume at block `start` are.
    ///
    /// # Errors
    /// [`FatError::Malformed`] for what is no FAT16 or FAT32 volume.
    pub fn of<D: BlockDevice>(device: &D, start: u32) -> Result<Self, FatError<D::Error>> {
        let boot = read(device, start)?;
        let malformed = FatError::Malformed;
        if u16_at(&boot, 510) != 0xaa55 || u16_at(&boot, 11) != Block::LEN_U32 {
            return Err(malformed);
        }
        let either = |short, long| match u16_at(&boot, short) {
            0 => u32_at(&boot, long),
            short => short,
        };
        let blocks_per_cluster = u32::from(boot[13]);
        let reserved = u16_at(&boot, 14);
        let copies = u32::from(boot[16]);
        let root_blocks = (u16_at(&boot, 17) * 32).div_ceil(Block::LEN_U32);
        let total = either(19, 32);
        let blocks = either(22, 36);
        if blocks_per_cluster == 0 || reserved == 0 || copies == 0 || blocks == 0 {
            return Err(malformed);
        }
        let data = copies
            .checked_mul(blocks)
            .and_then(|tables| tables.checked_add(reserved)?.checked_add(root_blocks))
            .and_then(|front| total.checked_sub(front));
        let clusters = data.ok_or(FatError::Malformed)? / blocks_per_cluster;
        // By the number of clusters and nothing else (section 3.5).
        let width = match clusters {
            0..4085 => return Err(FatError::Malformed),
            4085..65525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let info = match (width, u16_at(&boot, 48)) {
            (Width::Fat16, _) | (_, 0 | 0xffff) => None,
            (Width::Fat32, block) => start.checked_add(block),
        };
        let top = match width {
            Width::Fat16 => None,
            Width::Fat32 => Some(u32_at(&boot, 44)),
        };
        let table = Self {
            info,
            top,
            end: u64::from(start) + u64::from(total),
            first: start.checked_add(reserved).ok_or(FatError::Malformed)?,
            blocks,
            copies,
            width,
            clusters,
            cluster_bytes: blocks_per_cluster * Block::LEN_U32,
        };
        let holds = u64::from(blocks) * u64::from(table.per_block());
        if holds < u64::from(clusters) + 2 {
            return Err(FatError::Malformed);
        }
        if let Some(top) = top {
            table.check(top)?;
        }
        Ok(table)
    }

    /// The first cluster of the top folder; `None` where that isn't one of clusters (FAT16).
    #[must_use]
    pub const fn top(&self) -> Option<u32> {
        self.top
    }

    /// Whether there is a cluster of that number.
    fn check<E>(&self, cluster: u32) -> Result<(), FatError<E>> {
        if (2..self.clusters + 2).contains(&cluster) {
            Ok(())
        } else {
            Err(FatError::Malformed)
        }
    }

    /// Follows the chain of clusters from `first` on, over at most `most` clusters.
    ///
    /// # Errors
    /// [`FatError::Malformed`] at an entry that is no number of a cluster; [`FatError::Device`].
    pub fn follow<D: BlockDevice>(
        &self,
        device: &D,
        first: u32,
        most: u32,
    ) -> Result<Chain, FatError<D::Error>> {
        let mut known: Option<(u32, Block)> = None;
        let mut cluster = first;
        for count in 1..=most {
            self.check(cluster)?;
            let number = cluster / self.per_block();
            let block = match &known {
                Some((it, block)) if *it == number => block,
                _ => &known.insert((number, read(device, self.first + number)?)).1,
            };
            let next = self.entry(block, cluster % self.per_block());
            if self.is_end(next) {
                return Ok(Chain::Ends(count));
            }
            cluster = next;
        }
        Ok(Chain::GoesOn)
    }

    /// Makes sure that the chain of a folder from `first` on has an end, and no entry that is no
    /// number of a cluster.
    ///
    /// # Errors
    /// [`FatError::Malformed`], also for one that is longer than a folder may be;
    /// [`FatError::Device`].
    pub fn check_folder<D: BlockDevice>(
        &self,
        device: &D,
        first: u32,
    ) -> Result<(), FatError<D::Error>> {
        let most = MOST_FOLDER_BYTES.div_ceil(self.cluster_bytes);
        match self.follow(device, first, most.min(self.clusters))? {
            Chain::Ends(_) => Ok(()),
            Chain::GoesOn => Err(FatError::Malformed),
        }
    }

    /// Makes sure that a file from `first` on has clusters for its first `bytes` bytes.
    ///
    /// # Errors
    /// [`FatError::Malformed`]; [`FatError::Device`].
    pub fn check_front<D: BlockDevice>(
        &self,
        device: &D,
        first: Option<u32>,
        bytes: u64,
    ) -> Result<(), FatError<D::Error>> {
        let clusters = u32::try_from(self.clusters_for(bytes)).unwrap_or(u32::MAX);
        if clusters == 0 {
            return Ok(());
        }
        let first = first.ok_or(FatError::Malformed)?;
        if clusters > self.clusters {
            return Err(FatError::Malformed);
        }
        match self.follow(device, first, clusters)? {
            Chain::Ends(count) if count < clusters => Err(FatError::Malformed),
            _ => Ok(()),
        }
    }

    /// Makes sure that the chain of a file of `bytes` bytes from `first` on has an end, and clusters
    /// for all of them.
    ///
    /// # Errors
    /// [`FatError::Malformed`]; [`FatError::Device`].
    pub fn check_whole<D: BlockDevice>(
        &self,
        device: &D,
        first: Option<u32>,
        bytes: u64,
    ) -> Result<(), FatError<D::Error>> {
        let count = match first {
            None => 0,
            Some(first) => match self.follow(device, first, self.clusters)? {
                Chain::Ends(count) => count,
                Chain::GoesOn => return Err(FatError::Malformed),
            },
        };
        if u64::from(count) < self.clusters_for(bytes) {
            return Err(FatError::Malformed);
        }
        Ok(())
    }

    /// Bytes of all clusters.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.clusters) * u64::from(self.cluster_bytes)
    }

    /// Bytes of one cluster.
    #[must_use]
    pub fn cluster_bytes(&self) -> u64 {
        self.cluster_bytes.into()
    }

    /// Clusters that `bytes` bytes take.
    #[must_use]
    pub fn clusters_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_bytes())
    }

    /// The first block behind the volume.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The block with FAT32's hints of what is free, if there is one.
    #[must_use]
    pub const fn info(&self) -> Option<u32> {
        self.info
    }

    const fn per_block(&self) -> u32 {
        match self.width {
            Width::Fat16 => Block::LEN_U32 / 2,
            Width::Fat32 => Block::LEN_U32 / 4,
        }
    }

    fn entry(&self, block: &Block, index: u32) -> u32 {
        let index = index as usize;
        match self.width {
            Width::Fat16 => u16_at(block, 2 * index),
            Width::Fat32 => u32_at(block, 4 * index) & 0x0fff_ffff,
        }
    }

    /// Whether an entry ends a chain or stands for a bad cluster.
    const fn is_end(&self, entry: u32) -> bool {
        match self.width {
            Width::Fat16 => entry >= 0xfff7,
            Width::Fat32 => entry >= 0x0fff_fff7,
        }
    }

    /// Bytes of the clusters that are free.
    ///
    /// # Errors
    /// [`FatError::Device`].
    pub fn free_bytes<D: BlockDevice>(&self, device: &D) -> Result<u64, FatError<D::Error>> {
        let end = self.clusters + 2;
        let mut free = 0;
        let mut cluster = 0;
        for number in 0..end.div_ceil(self.per_block()) {
            let block = read(device, self.first + number)?;
            for index in 0..self.per_block() {
                if (2..end).contains(&cluster) && self.entry(&block, index) == 0 {
                    free += 1;
                }
                cluster += 1;
            }
        }
        Ok(free * u64::from(self.cluster_bytes))
    }

    /// The first cluster of what the directory entry at byte `offset` of block `block` stands for;
    /// `None` for an empty file.
    ///
    /// # Errors
    /// [`FatError`].
    pub fn first_cluster<D: BlockDevice>(
        &self,
        device: &D,
        block: BlockIdx,
        offset: u32,
    ) -> Result<Option<u32>, FatError<D::Error>> {
        let block = read(device, block.0)?;
        let at = offset as usize;
        if at + 32 > Block::LEN {
            return Err(FatError::Malformed);
        }
        let high = match self.width {
            Width::Fat16 => 0,
            Width::Fat32 => u16_at(&block, at + 20),
        };
        let cluster = high << 16 | u16_at(&block, at + 26);
        if cluster == 0 {
            return Ok(None);
        }
        self.check(cluster)?;
        Ok(Some(cluster))
    }

    /// Frees the chain of clusters from `cluster` on, in all copies of the table.
    ///
    /// # Errors
    /// [`FatError::Malformed`] at an entry that is no number of a cluster: what was freed before it
    /// stays free. A chain that bites its tail ends where it comes to what it has freed.
    pub fn free_chain<D: BlockDevice>(
        &self,
        device: &D,
        mut cluster: u32,
    ) -> Result<(), FatError<D::Error>> {
        loop {
            self.check(cluster)?;
            let number = cluster / self.per_block();
            let mut blocks = [read(device, self.first + number)?];
            let mut is_changed = false;
            // As many of the chain as lie in this block.
            let next = loop {
                let index = cluster % self.per_block();
                let next = self.entry(&blocks[0], index);
                if next == 0 {
                    break None;
                }
                self.clear(&mut blocks[0], index);
                is_changed = true;
                if self.is_end(next) {
                    break None;
                }
                if next < 2 || next / self.per_block() != number {
                    break Some(next);
                }
                cluster = next;
            };
            for copy in (0..self.copies).filter(|_| is_changed) {
                let block = self.first + copy * self.blocks + number;
                device.write(&blocks, BlockIdx(block))?;
            }
            match next {
                Some(next) => cluster = next,
                None => return Ok(()),
            }
        }
    }

    fn clear(&self, block: &mut Block, index: u32) {
        let index = index as usize;
        match self.width {
            Width::Fat16 => block[2 * index..][..2].fill(0),
            Width::Fat32 => {
                // The upper four bits aren't the entry's (section 4).
                let upper = block[4 * index + 3] & 0xf0;
                block[4 * index..][..4].copy_from_slice(&[0, 0, 0, upper]);
            }
        }
    }
}
